"""A finding for other tools: CSV of its edges, GraphML, and the graph JSON of Neuronpedia and circuit-tracer.

The page writes the same from what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, final
from xml.sax.saxutils import escape

import edgewise
from edgewise.circuit import Circuit
from edgewise.graph import HEAD, MLP, Graph, layer_of, node_of
from edgewise.scores import Scores
from edgewise.store.schema import dump
from edgewise.viewer.caption import clean, readable
from edgewise.viewer.contents import TOKEN, TOKENS, listed
from edgewise.viewer.finding import Finding

COLUMNS = "edge,writer,reader,kind,score,exact,in_circuit,in_other,in_reference"
KEYS = (
    ("kind", "node", "string"),
    ("layer", "node", "int"),
    ("role", "node", "string"),
    ("reader", "edge", "string"),
    ("score", "edge", "double"),
    ("exact", "edge", "double"),
)
NOTE = (
    "Heads and MLPs of a circuit found by edgewise. Edges have no positions: every node stands at the last token. "
    "A link sums the edges into q, k and v."
)


@final
@dataclass(frozen=True)
class Row:
    """One edge with what is known of it."""

    writer: str
    reader: str
    score: float | None
    exact: float | None

    @property
    def edge(self) -> str:
        """Its name."""
        return f"{self.writer}->{self.reader}"

    @property
    def kind(self) -> str:
        """`q`, `k`, `v`, or the empty string."""
        match = HEAD.fullmatch(self.reader)
        return match[3] if match else ""


def edge_csv(finding: Finding) -> str:
    """The edges as CSV, strongest first, with a header: name, ends, score, exact effect, which circuits have it."""
    parts = (finding.circuit, finding.other.circuit if finding.other is not None else None, finding.reference)
    lines = [
        ",".join([row.edge, row.writer, row.reader, row.kind, _number(row.score), _number(row.exact), *_in(row, parts)])
        for row in _rows(finding)
    ]
    return "\n".join([COLUMNS, *lines]) + "\n"


def graphml(finding: Finding) -> str:
    """The circuit as GraphML, with parallel edges for q, k and v."""
    rows, roles = _rows(finding), _roles(finding)
    keys = [f' <key id="{name}" for="{of}" attr.name="{name}" attr.type="{kind}"/>' for name, of, kind in KEYS]
    nodes = [
        f'  <node id="{name}">{_data("kind", _kind(name))}{_data("layer", str(_layer(name)))}'
        f"{_data('role', roles.get(name, ''))}</node>"
        for name in _touched(finding, rows)
    ]
    edges = [
        f'  <edge id="{escape(row.edge)}" source="{row.writer}" target="{target(finding.graph, row.reader)}">'
        f"{_data('reader', row.reader)}{_data('score', _number(row.score))}{_data('exact', _number(row.exact))}</edge>"
        for row in rows
    ]
    head = ['<?xml version="1.0" encoding="UTF-8"?>', '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">', *keys]
    body = [' <graph id="circuit" edgedefault="directed">', *nodes, *edges, " </graph>", "</graphml>"]
    return "\n".join([*head, *body]) + "\n"


def neuronpedia(finding: Finding) -> str:
    """The circuit as the graph JSON that Neuronpedia and circuit-tracer read; all nodes stand at the last token."""
    rows, known = _rows(finding), finding.shown.provenance
    tokens = _tokens(known) or ["…"]
    links: dict[tuple[str, str], float] = {}
    for row in rows:
        ends = (row.writer, target(finding.graph, row.reader))
        links[ends] = links.get(ends, 0.0) + (1.0 if row.score is None else row.score)
    touched = _touched(finding, rows)
    layers = finding.graph.layers
    groups = [[readable(role), *(n for n in nodes if n in touched)] for role, nodes in finding.roles.items()]
    value = {
        "metadata": {
            "slug": "edgewise-circuit",
            "scan": clean(known.get("model") or "unknown", 200),
            "prompt_tokens": tokens,
            "prompt": "".join(tokens),
            "info": {"description": NOTE, "generator": {"name": "edgewise", "version": edgewise.__version__}},
        },
        "qParams": {
            "pinnedIds": [],
            "supernodes": [group for group in groups if len(group) > 1],
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": [_node(name, layers, len(tokens) - 1) for name in touched],
        "links": [{"source": a, "target": b, "weight": w if isfinite(w) else 0.0} for (a, b), w in links.items()],
    }
    return dump(value)


def target(graph: Graph, reader: str) -> str:
    """The node that an edge into a reader goes into; of a shared key or value, the first of its heads.

    >>> target(Graph(1, 4, 2), "a0.h1<k>"), target(Graph(1, 4, 2), "a0.h1<q>")
    ('a0.h2', 'a0.h1')
    """
    if not HEAD.fullmatch(reader):
        return node_of(reader)
    return graph.writers[int(graph.serves[graph.reader_index[reader]].nonzero()[0])]


# -- parts ------------------------------------------------------------------------------------------------------------


def _rows(finding: Finding) -> list[Row]:
    """The edges of the shown circuit, strongest first, ties in the order of `Scores.top`."""
    circuit, graph = finding.shown, finding.graph
    pairs = [(int(w), int(r)) for w, r in circuit.mask.nonzero()]
    if finding.scores is not None:
        values = finding.scores.values
        pairs.sort(key=lambda pair: -abs(float(values[pair])))
    return [
        Row(graph.writers[w], graph.readers[r], _at(finding.scores, (w, r)), _at(finding.exact, (w, r)))
        for w, r in pairs
    ]


def _at(scores: Scores | None, place: tuple[int, int]) -> float | None:
    return None if scores is None else float(scores.values[place])


def _number(value: float | None) -> str:
    return "" if value is None else repr(value) if isfinite(value) else ("INF" if value > 0 else "-INF")


def _in(row: Row, circuits: tuple[Circuit | None, ...]) -> list[str]:
    return [str(int(circuit is not None and row.edge in circuit)) for circuit in circuits]


def _roles(finding: Finding) -> dict[str, str]:
    return {node: readable(role) for role, nodes in finding.roles.items() for node in nodes}


def _touched(finding: Finding, rows: list[Row]) -> list[str]:
    names = {row.writer for row in rows} | {target(finding.graph, row.reader) for row in rows}
    return [name for name in (*finding.graph.writers, "logits") if name in names]


def _kind(name: str) -> str:
    if HEAD.fullmatch(name):
        return "head"
    return "mlp" if MLP.fullmatch(name) else "logits" if name == "logits" else "input"


def _layer(name: str) -> int:
    return layer_of(name) if _kind(name) in ("head", "mlp") else -1


def _data(key: str, text: str) -> str:
    return f'<data key="{key}">{escape(text)}</data>' if text else ""


def _tokens(known: Mapping[str, Any]) -> list[str]:
    examples = [one for one in listed(known.get("prompts")) if isinstance(one, Mapping)]
    return [clean(token, TOKEN) for token in listed(examples[0].get("clean"))[:TOKENS]] if examples else []


def _node(name: str, layers: int, at: int) -> dict[str, Any]:
    """Layers count from 1, attention and MLP one each: a graph whose layers are all 0 is not read.

    A logit's label is read up to "(p=": a circuit knows no probability, so it has no label.
    """
    kind, layer = _kind(name), _layer(name)
    head = HEAD.fullmatch(name)
    places = {"input": "E", "head": str(2 * layer + 1), "mlp": str(2 * layer + 2), "logits": str(2 * layers + 1)}
    types = {"input": "embedding", "head": "lorsa", "mlp": "unknown", "logits": "logit"}
    return {
        "node_id": name,
        "feature": int(head[2]) if head else 0,
        "layer": places[kind],
        "ctx_idx": at,
        "feature_type": types[kind],
        "jsNodeId": name,
        "clerp": "" if kind == "logits" else name,
    }
