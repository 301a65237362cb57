"""The formats `edgewise convert` writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from edgewise.arguments import typed
from edgewise.errors import InvalidValue, UnknownName
from edgewise.formats.eap_ig_json import eap_ig_json
from edgewise.formats.eap_ig_nodes import eap_ig_nodes_json, eap_ig_nodes_pt
from edgewise.formats.eap_ig_pt import eap_ig_pt
from edgewise.formats.mib_submission import mib_files, mib_folder
from edgewise.scores import Scores
from edgewise.store.disk import new_folder, write_bytes
from edgewise.store.files import to_bytes
from edgewise.store.schema import encode
from edgewise.viewer.edgelist import edge_csv, graphml, neuronpedia
from edgewise.viewer.finding import Finding
from edgewise.viewer.show import PICTURES


@final
@dataclass(frozen=True)
class Format:
    """A way to write a finding as one file.

    `suffix`: the suffix of the file.
    `summary`: what it holds, in a few words.
    `to_bytes`: makes the bytes of the file from a finding.
    """

    suffix: str
    summary: str
    to_bytes: Callable[[Finding], bytes]


@final
@dataclass(frozen=True)
class FolderFormat:
    """A way to write a finding as a folder of files.

    `summary`: what it holds, in a few words.
    `to_files`: makes the bytes of each file, by name, from a finding.
    `folder`: makes the name of the folder from a finding.
    """

    summary: str
    to_files: Callable[[Finding], dict[str, bytes]]
    folder: Callable[[Finding], str]


@typed
def format_named(name: str) -> Format | FolderFormat:
    """Get an export format by its name.

    `name`: one of the names that `edgewise list formats` shows.

    Returns a Format or a FolderFormat. Raises UnknownName, with the nearest known name, if there is none.
    """
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


def _json(finding: Finding) -> bytes:
    if finding.selected is not None:
        return to_bytes(finding.selected, ".json")
    return to_bytes(_any_scores(finding), ".json")


def _safetensors(finding: Finding) -> bytes:
    return to_bytes(_any_scores(finding), ".safetensors")


def _any_scores(finding: Finding) -> Scores:
    """Those of edges, else those of nodes."""
    return finding.node_scores if finding.scores is None and finding.node_scores is not None else _scores(finding)


def _scores(finding: Finding) -> Scores:
    if finding.scores is None:
        raise InvalidValue(
            "this format holds scores, but there is only a circuit; convert the run folder or the scores"
        )
    return finding.scores


def _eap_ig(finding: Finding) -> bytes:
    if finding.neurons is not None or finding.node_scores is not None:
        return eap_ig_nodes_json(finding.node_scores, finding.selected)
    return encode(eap_ig_json(finding.scores, finding.circuit))


def _eap_ig_pt(finding: Finding) -> bytes:
    if finding.neurons is not None or finding.node_scores is not None:
        return eap_ig_nodes_pt(finding.node_scores, finding.selected)
    return eap_ig_pt(finding.scores, finding.circuit)


def _text(write: Callable[[Finding], str]) -> Callable[[Finding], bytes]:
    return lambda finding: encode(write(finding))


FORMATS = {
    "json": Format(".json", "edgewise's own document: the circuit, or the scores if there is none", _json),
    "safetensors": Format(".safetensors", "edgewise's own scores, as a tensor with a header", _safetensors),
    "eap-ig": Format(
        ".eap-ig.json", "the JSON of the EAP-IG library and the MIB benchmark, nodes and neurons too", _eap_ig
    ),
    "eap-ig-pt": Format(
        ".pt", "the tensors of the EAP-IG library and the MIB benchmark, nodes and neurons too", _eap_ig_pt
    ),
    "svg": Format(".svg", "the picture", PICTURES[".svg"]),
    "png": Format(".png", "the picture in pixels; needs the extra viz", PICTURES[".png"]),
    "html": Format(".html", "one self-contained page to look at it and move through it", PICTURES[".html"]),
    "csv": Format(".csv", "the edges as a table, strongest first", _text(edge_csv)),
    "graphml": Format(".graphml", "GraphML, for networkx, Gephi and others", _text(graphml)),
    "neuronpedia": Format(".neuronpedia.json", "the graph JSON of Neuronpedia and circuit-tracer", _text(neuronpedia)),
    "dot": Format(".dot", "DOT text for Graphviz", PICTURES[".dot"]),
}
FOLDERS = {
    "mib": FolderFormat(
        "the folder `task_model` that the MIB benchmark takes: the scores, at any level, in EAP-IG form",
        lambda finding: mib_files(finding.scores if finding.node_scores is None else finding.node_scores),
        lambda finding: mib_folder((finding.node_scores or _scores(finding)).provenance),
    )
}
