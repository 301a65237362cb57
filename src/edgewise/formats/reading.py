"""What files hold, as a finding: circuits, scores, run folders, comparisons, and EAP-IG files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.curve import Curve, CurvePoint
from edgewise.errors import FileError, GraphMismatch
from edgewise.formats.eap_ig_graph import is_eap_ig
from edgewise.formats.eap_ig_json import read_eap_ig
from edgewise.formats.eap_ig_nodes import read_eap_ig_nodes
from edgewise.formats.eap_ig_pt import is_of_torch, read_eap_ig_pt
from edgewise.formats.run_documents import MeasuresDocument, PartDocument, RankingDocument, ReportDocument
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.store.disk import accessible
from edgewise.store.files import read
from edgewise.store.manifest import read_document
from edgewise.store.opening import read_bytes
from edgewise.store.schema import dump, validate
from edgewise.tasks.references import REFERENCES, reference, reference_groups
from edgewise.viewer.contents import curve_columns
from edgewise.viewer.document import AttentionDocument, AttentionEntry, CurveDocument
from edgewise.viewer.finding import Finding
from edgewise.viewer.show import gathered

CIRCUIT_FILE, SCORES_FILE = "circuit.json", "scores.safetensors"
EXACT_FILE, REPORT_FILE, CURVE_FILE = "exact.safetensors", "report.json", "curve.json"
ATTENTION_FILE = "attention.json"
# In a comparison: the folder of its methods, what each found, the reference circuit, and the tables.
METHODS_FOLDER, FOUND_FILE, REFERENCE_FILE, TABLE_FILE = "methods", "found.json", "reference.json", "table.md"


@typed
def find(path: str | Path) -> Finding:
    """Read what a file of edgewise, a run folder, or the folder of one method of a comparison holds.

    `path`: the file or folder.

    Returns a Finding: circuit, scores, exact effects, curve and report, as far as they are there. Raises FileError for
    a path that holds none of these.
    """
    with accessible(path):
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


@typed
def import_finding(
    path: str | Path, *, graph: Graph | None = None, sign: int = 1, facts: Mapping[str, Any] = MappingProxyType({})
) -> Finding:
    """Read what a file holds, in any format that edgewise knows, those of the EAP-IG library included.

    `path`: the file or run folder.
    `graph`: the graph of the model at hand; a file of another graph is refused.
    `sign`: as in `read_eap_ig`.
    `facts`: facts about the model, for the provenance of what comes from another tool.

    Returns a Finding. Raises FileError for what cannot be read, GraphMismatch for another graph.
    """
    tensors = is_of_torch(path)
    if not tensors and (Path(path).is_dir() or Path(path).suffix == ".safetensors" or not is_eap_ig(read_bytes(path))):
        return _on(graph, find(path), path)
    scores, circuit = (read_eap_ig_pt if tensors else read_eap_ig)(path, graph=graph, sign=sign)
    nodes, neurons = read_eap_ig_nodes(path, graph=graph, sign=sign)
    if neurons is not None:
        return replace(Finding.of(neurons), node_scores=nodes)
    scores = Scores(scores.graph, scores.values, {**scores.provenance, **facts})
    kept = circuit.with_provenance(**facts) if len(circuit) else None
    # Files of scores of nodes, and membership files, list edges too, which score nothing.
    of_edges = scores if bool(scores.values.any()) or (nodes is None and kept is None) else None
    return Finding(circuit=kept, scores=of_edges, node_scores=nodes)


def _on(graph: Graph | None, finding: Finding, path: str | Path) -> Finding:
    """The finding, if it is on this graph; GraphMismatch otherwise."""
    theirs = (finding.node_scores or finding.shown).graph
    if graph in (None, theirs):
        return finding
    raise GraphMismatch(f"{path} is of another graph ({theirs}) than the one asked for ({graph})")


def _run(folder: Path) -> Finding:
    if (folder / METHODS_FOLDER).is_dir():
        methods = ", ".join(sorted(path.name for path in (folder / METHODS_FOLDER).iterdir()))
        raise FileError(
            f"{folder} is a comparison; name the folder of one method in {folder / METHODS_FOLDER} ({methods})"
        )
    if not (folder / CIRCUIT_FILE).is_file():
        raise FileError(f"{folder} is not a run folder: it has no {CIRCUIT_FILE}")
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
        attention=_attention(folder / ATTENTION_FILE),
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
    entry = read_document(PartDocument, folder / FOUND_FILE).entry
    ranking = validate(RankingDocument, entry, str(folder / FOUND_FILE)).ranking
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
    shares, chance = (_shares(place / CURVE_FILE, metric) for place in (folder, folder.parent / "random"))
    yield Curve(metric, ranking, tuple(CurvePoint(edges, share, chance.get(edges)) for edges, share in shares.items()))


def _shares(path: Path, metric: str) -> dict[int, float | None]:
    """Number of edges → faithfulness, in the curve of a method of a comparison; nothing where there is none."""
    points = read_document(MeasuresDocument, path).curve if path.is_file() else []
    return {point.edges: point.faithfulness.get(metric) for point in points}


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
        document = read_document(CurveDocument, path)
        columns = zip(document.edges, document.faithfulness, document.random, strict=True)
        yield Curve(document.metric, document.ranking, tuple(CurvePoint(*point) for point in columns))


def attention_json(attention: AttentionEntry) -> str:
    """Where heads attend as a JSON document."""
    return dump(AttentionDocument(prompts=attention.prompts, heads=attention.heads))


def _attention(path: Path) -> AttentionEntry | None:
    if not path.is_file():
        return None
    document = read_document(AttentionDocument, path)
    return AttentionEntry(prompts=document.prompts, heads=document.heads)


def _report(path: Path) -> dict[str, Any]:
    return read_document(ReportDocument, path).model_dump() if path.is_file() else {}
