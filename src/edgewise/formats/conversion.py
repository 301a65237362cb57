"""The formats `edgewise convert` writes, and what it reads: circuits, scores, run folders and EAP-IG files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

from edgewise.circuit import Circuit
from edgewise.curve import Curve, CurvePoint
from edgewise.errors import FileError, GraphMismatch, InvalidValue, UnknownName
from edgewise.formats.eap_ig_json import eap_ig_json, is_eap_ig, read_eap_ig
from edgewise.formats.eap_ig_nodes import eap_ig_nodes_json, eap_ig_nodes_pt, read_eap_ig_nodes
from edgewise.formats.eap_ig_pt import eap_ig_pt, read_eap_ig_pt
from edgewise.formats.mib_submission import mib_files, mib_folder
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.store.disk import new_folder, read_bytes, write_bytes
from edgewise.store.files import read, to_bytes
from edgewise.store.schema import dump, encode, parse, validate
from edgewise.tasks.references import REFERENCES, reference, reference_groups
from edgewise.viewer.contents import curve_columns
from edgewise.viewer.document import CurveDocument
from edgewise.viewer.edgelist import edge_csv, graphml, neuronpedia
from edgewise.viewer.finding import Finding
from edgewise.viewer.show import PICTURES, gathered

CIRCUIT_FILE, SCORES_FILE = "circuit.json", "scores.safetensors"
EXACT_FILE, REPORT_FILE, CURVE_FILE = "exact.safetensors", "report.json", "curve.json"
# In a comparison: the folder of its methods, what each found, the reference circuit, and the tables.
METHODS_FOLDER, FOUND_FILE, REFERENCE_FILE, TABLE_FILE = "methods", "found.json", "reference.json", "table.md"


@final
@dataclass(frozen=True)
class Format:
    """A way to write a finding."""

    suffix: str
    summary: str
    to_bytes: Callable[[Finding], bytes]


@final
@dataclass(frozen=True)
class FolderFormat:
    """A way to write a finding as a folder of files."""

    summary: str
    to_files: Callable[[Finding], dict[str, bytes]]
    folder: Callable[[Finding], str]


def find(path: str | Path) -> Finding:
    """The finding in a file that edgewise wrote, in a run folder, or in that of one method of a comparison."""
    if Path(path).is_dir():
        return _compared(Path(path)) if (Path(path) / FOUND_FILE).is_file() else _run(Path(path))
    finding = Finding.of(read(path))
    return finding if finding.circuit is None and finding.scores is None else with_reference(finding)


def beside(finding: Finding, *, scores: Path | None, exact: Path | None, compare: Path | None) -> Finding:
    """The finding with what other files hold: its scores, its exact effects, and a second one to compare it with."""
    parts = {name: find(path).scores if path else None for name, path in (("scores", scores), ("exact", exact))}
    return gathered(finding, **parts, compare=find(compare) if compare is not None else None)


def picture_path(source: Path, suffix: str = ".html") -> Path:
    """Where the page of a file or of a run folder goes if nobody says."""
    return source / f"circuit{suffix}" if source.is_dir() else source.with_suffix(suffix)


def import_finding(
    path: str | Path, *, graph: Graph | None = None, sign: int = 1, facts: Mapping[str, Any] = MappingProxyType({})
) -> Finding:
    """The finding in a file of any format that can be read, those of EAP-IG included.

    `graph` is that of the model at hand: a file of another is refused. `facts` about the model go into the provenance of what
    comes from another tool.
    """
    tensors = Path(path).suffix == ".pt"
    if not tensors and (Path(path).is_dir() or Path(path).suffix == ".safetensors" or not is_eap_ig(read_bytes(path))):
        return _on(graph, find(path), path)
    scores, circuit = (read_eap_ig_pt if tensors else read_eap_ig)(path, graph=graph, sign=sign)
    nodes, neurons = read_eap_ig_nodes(path, graph=graph, sign=sign)
    if neurons is not None:
        return replace(Finding.of(neurons), node_scores=nodes)
    scores = Scores(scores.graph, scores.values, {**scores.provenance, **facts})
    # A file of scores of nodes has edges too, which score nothing.
    of_edges = scores if nodes is None or bool(scores.values.any()) else None
    kept = circuit.with_provenance(**facts) if len(circuit) else None
    return Finding(circuit=kept, scores=of_edges, node_scores=nodes)


def _on(graph: Graph | None, finding: Finding, path: str | Path) -> Finding:
    """The finding, if it is on this graph; GraphMismatch otherwise."""
    theirs = (finding.node_scores or finding.shown).graph
    if graph in (None, theirs):
        return finding
    raise GraphMismatch(f"{path} is of another graph ({theirs}) than the one asked for ({graph})")


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
    if (folder / METHODS_FOLDER).is_dir():
        methods = ", ".join(sorted(path.name for path in (folder / METHODS_FOLDER).iterdir()))
        raise FileError(f"{folder} is a comparison: name a method's folder in {folder / METHODS_FOLDER} ({methods})")
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
    exact = read(folder / EXACT_FILE) if (folder / EXACT_FILE).is_file() else None
    beside = {} if not isinstance(scores, Scores) else {"scores" if scores.level == "edges" else "node_scores": scores}
    finding = replace(
        Finding.of(circuit),
        **beside,
        exact=exact if isinstance(exact, Scores) else None,
        curves=tuple(_curves(folder / CURVE_FILE)),
        report=_report(folder / REPORT_FILE),
    )
    return with_reference(finding)


def _compared(folder: Path) -> Finding:
    """One method of a comparison: its scores and best tenth of edges, beside exact effects, chance and the reference."""
    scores, known = read(folder / SCORES_FILE), folder.parent.parent / REFERENCE_FILE
    if not isinstance(scores, Scores) or scores.level != "edges":
        raise FileError(f"{folder / SCORES_FILE} holds a circuit, not scores")
    exact = folder.parent / "exact" / SCORES_FILE
    effects = read(exact) if exact.is_file() else None
    circuit = read(known) if known.is_file() else None
    ranking = parse(read_bytes(folder / FOUND_FILE), FOUND_FILE).get("entry", {}).get("ranking", "absolute")
    best = scores.top(max(1, scores.graph.n_edges // 10), absolute=ranking == "absolute")
    finding = with_reference(
        Finding(
            circuit=best.without_dangling(),
            scores=scores,
            exact=effects if isinstance(effects, Scores) else None,
            curves=tuple(_measured(folder, str(scores.provenance.get("metric")), ranking)),
            label=folder.name,
        )
    )
    return replace(finding, reference=circuit) if isinstance(circuit, Circuit) else finding


def _measured(folder: Path, metric: str, ranking: str) -> Iterator[Curve]:
    """The curve of one method of a comparison, beside random scores where these have circuits of the same size."""
    if not (folder / CURVE_FILE).is_file():
        return
    mine, chance = (_shares(one / CURVE_FILE, metric) for one in (folder, folder.parent / "random"))
    yield Curve(metric, ranking, tuple(CurvePoint(edges, share, chance.get(edges)) for edges, share in mine.items()))


def _shares(path: Path, metric: str) -> dict[int, float | None]:
    """Number of edges → faithfulness, in the curve of a method of a comparison; nothing where there is none."""
    points = parse(read_bytes(path), path.name).get("curve", []) if path.is_file() else []
    return {point["edges"]: point["faithfulness"].get(metric) for point in points}


def with_reference(finding: Finding) -> Finding:
    """The finding with the published circuit of its task and its roles, if there is one of the model it was found in."""
    known = finding.shown.provenance
    name = str(known.get("task") or known.get("reference"))
    if name not in REFERENCES:
        return finding
    published = reference(name)
    model = str(known.get("model")).rstrip("/").rpartition("/")[2]
    if published.graph != finding.shown.graph or model != published.provenance["model"]:
        return finding
    roles = {role: nodes for role, nodes in reference_groups(name).items() if role != "mlps"}
    return replace(finding, roles=roles, reference=None if "reference" in known else published)


def curve_json(curve: Curve) -> str:
    """A curve as a JSON document."""
    return dump(CurveDocument(metric=curve.metric, ranking=curve.ranking, **curve_columns(curve)))


def _curves(path: Path) -> Iterator[Curve]:
    if path.is_file():
        document = validate(CurveDocument, parse(read_bytes(path), path.name), path.name)
        columns = zip(document.edges, document.faithfulness, document.random, strict=True)
        yield Curve(document.metric, document.ranking, tuple(CurvePoint(*point) for point in columns))


def _report(path: Path) -> dict[str, Any]:
    return parse(read_bytes(path), path.name) if path.is_file() else {}


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
            "this format holds scores, and there is only a circuit; convert the run folder or the scores"
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
