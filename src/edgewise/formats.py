"""The formats `edgewise convert` writes, and what it reads: circuits, scores, run folders and EAP-IG files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgewise.circuit import Circuit
from edgewise.errors import FileError, InvalidValue, UnknownName
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.store.disk import new_folder, read_bytes, write_bytes
from edgewise.store.eap_ig import eap_ig_json, is_eap_ig, read_eap_ig
from edgewise.store.eap_ig_pt import eap_ig_pt, read_eap_ig_pt
from edgewise.store.files import circuit_json, read, scores_json, scores_safetensors
from edgewise.store.mib import mib_files, mib_folder
from edgewise.store.schema import encode
from edgewise.viewer.show import PICTURES, strongest

CIRCUIT_FILE, SCORES_FILE = "circuit.json", "scores.safetensors"


@dataclass(frozen=True)
class Finding:
    """What a file or a run folder holds: a circuit, scores, or both on one graph."""

    circuit: Circuit | None = None
    scores: Scores | None = None

    @property
    def shown(self) -> Circuit:
        """The circuit to draw: its own, or the strongest edges of its scores."""
        value = self.circuit if self.circuit is not None else self.scores
        if value is None:
            raise InvalidValue("there is neither a circuit nor scores")
        return strongest(value)


@dataclass(frozen=True)
class Format:
    """A way to write a finding."""

    suffix: str
    summary: str
    to_bytes: Callable[[Finding], bytes]


@dataclass(frozen=True)
class FolderFormat:
    """A way to write a finding as a folder of files."""

    summary: str
    to_files: Callable[[Finding], dict[str, bytes]]
    folder: Callable[[Finding], str]


def find(path: str | Path) -> Finding:
    """The finding in a file that edgewise wrote, or in a run folder."""
    if Path(path).is_dir():
        return _run(Path(path))
    value = read(path)
    return Finding(circuit=value) if isinstance(value, Circuit) else Finding(scores=value)


def import_finding(path: str | Path, *, graph: Graph | None = None, sign: int = 1) -> Finding:
    """The finding in a file of any format that can be read, those of EAP-IG included."""
    if Path(path).suffix == ".pt":
        scores, circuit = read_eap_ig_pt(path, graph=graph, sign=sign)
        return Finding(circuit=circuit if len(circuit) else None, scores=scores)
    if Path(path).is_dir() or Path(path).suffix == ".safetensors" or not is_eap_ig(read_bytes(path)):
        return find(path)
    scores, circuit = read_eap_ig(path, graph=graph, sign=sign)
    return Finding(circuit=circuit if len(circuit) else None, scores=scores)


def format_named(name: str) -> Format | FolderFormat:
    """The format of that name; UnknownName, with the nearest known one, if there is none."""
    known: dict[str, Format | FolderFormat] = {**FORMATS, **FOLDERS}
    if name not in known:
        raise UnknownName.of("format", name, known)
    return known[name]


def write_folder(finding: Finding, target: FolderFormat, path: Path) -> Path:
    """Writes all files of a folder format, or nothing; FileError if `path` exists and is not empty."""
    files = target.to_files(finding)
    with new_folder(path) as folder:
        for name, data in files.items():
            write_bytes(folder / name, data)
    return path


def _run(folder: Path) -> Finding:
    if not (folder / CIRCUIT_FILE).is_file():
        raise FileError(f"{folder} is no run folder: there is no {CIRCUIT_FILE} in it")
    circuit = read(folder / CIRCUIT_FILE)
    scores = read(folder / SCORES_FILE) if (folder / SCORES_FILE).is_file() else None
    if not isinstance(circuit, Circuit):
        raise FileError(f"{folder / CIRCUIT_FILE} holds scores, not a circuit")
    if scores is not None and scores.graph != circuit.graph:
        raise FileError(
            f"{folder}: its scores are of another graph ({scores.graph}) than its circuit ({circuit.graph})"
        )
    return Finding(circuit, scores if isinstance(scores, Scores) else None)


def _json(finding: Finding) -> bytes:
    if finding.circuit is not None:
        return encode(circuit_json(finding.circuit))
    return encode(scores_json(_scores(finding)))


def _safetensors(finding: Finding) -> bytes:
    return scores_safetensors(_scores(finding))


def _scores(finding: Finding) -> Scores:
    if finding.scores is None:
        raise InvalidValue(
            "this format holds scores, and there is only a circuit; convert the run folder or the scores"
        )
    return finding.scores


def _eap_ig(finding: Finding) -> bytes:
    return encode(eap_ig_json(finding.scores, finding.circuit))


def _eap_ig_pt(finding: Finding) -> bytes:
    return eap_ig_pt(finding.scores, finding.circuit)


def _picture(suffix: str) -> Callable[[Finding], bytes]:
    draw = PICTURES[suffix]
    return lambda finding: draw(finding.shown, finding.scores).encode("utf-8", "replace")


FORMATS = {
    "json": Format(".json", "edgewise's own document: the circuit, or the scores if there is none", _json),
    "safetensors": Format(".safetensors", "edgewise's own scores, as a tensor with a header", _safetensors),
    "eap-ig": Format(".eap-ig.json", "the JSON of the EAP-IG library and the MIB benchmark", _eap_ig),
    "eap-ig-pt": Format(".pt", "the tensors of the EAP-IG library and the MIB benchmark", _eap_ig_pt),
    "svg": Format(".svg", "the picture", _picture(".svg")),
    "html": Format(".html", "one self-contained page with the picture", _picture(".html")),
    "dot": Format(".dot", "DOT text for Graphviz", _picture(".dot")),
}
FOLDERS = {
    "mib": FolderFormat(
        "the folder `task_model` that the MIB benchmark takes: the scores in EAP-IG form",
        lambda finding: mib_files(finding.scores),
        lambda finding: mib_folder(_scores(finding).provenance),
    )
}
