"""A finding for other tools: CSV of its edges, GraphML, and the graph JSON of Neuronpedia and circuit-tracer.

The page writes the same from what it shows, from the same `templates`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from math import isfinite
from typing import Any
from xml.sax.saxutils import escape

from edgewise.circuit import Circuit
from edgewise.graph import Graph, node_of
from edgewise.scores import Scores
from edgewise.store.schema import dump
from edgewise.viewer.caption import clean, readable
from edgewise.viewer.circuit_entries import examples
from edgewise.viewer.contents import node_entry
from edgewise.viewer.document import NodeEntry
from edgewise.viewer.finding import Finding
from edgewise.viewer.style import kind_of
from edgewise.viewer.templates import CSV, FEATURE_TYPES, GRAPHML, NEURONPEDIA, filled

# What is known of an edge, by the names of the columns of the CSV, and its `node`.
Row = dict[str, Any]


def edge_csv(finding: Finding) -> str:
    """The edges as CSV, strongest first, with a header: name, ends, score, exact effect, which circuits have it."""
    lines = [CSV, *([_text(row[name]) for name in CSV] for row in _rows(finding))]
    return "".join(",".join(line) + "\n" for line in lines)


def graphml(finding: Finding) -> str:
    """The circuit as GraphML, with parallel edges for q, k and v."""
    rows = _rows(finding)
    roles = {node: readable(role) for role, nodes in finding.roles.items() for node in nodes}
    nodes = [{**vars(node), "role": roles.get(node.name, "")} for node in _touched(finding, rows)]
    return filled(GRAPHML["file"], {"nodes": _elements("node", nodes), "edges": _elements("edge", rows)})


def neuronpedia(finding: Finding) -> str:
    """The circuit as the graph JSON that Neuronpedia and circuit-tracer read; all nodes stand at the last token."""
    rows, known = _rows(finding), finding.shown.provenance
    prompts = examples(known)
    tokens = (prompts[0].clean if prompts else []) or ["…"]
    links: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        links[row["writer"], row["node"]] += 1.0 if row["score"] is None else row["score"]
    touched = _touched(finding, rows)
    names = {node.name for node in touched}
    groups = [[readable(role), *(node for node in nodes if node in names)] for role, nodes in finding.roles.items()]
    metadata = {
        "scan": clean(known.get("model") or "unknown", 200),
        "prompt_tokens": tokens,
        "prompt": "".join(tokens),
    }
    value = {
        "metadata": {**NEURONPEDIA["metadata"], **metadata},
        "qParams": {**NEURONPEDIA["qParams"], "supernodes": [group for group in groups if len(group) > 1]},
        "nodes": [_node(node, finding.graph.layers, len(tokens) - 1) for node in touched],
        "links": [{"source": a, "target": b, "weight": w if isfinite(w) else 0.0} for (a, b), w in links.items()],
    }
    return dump(value)


def target(graph: Graph, reader: str) -> str:
    """The node that an edge into a reader goes into; of a shared key or value, the first of its heads.

    >>> target(Graph(1, 4, 2), "a0.kv1<k>"), target(Graph(1, 4, 2), "a0.h1<q>")
    ('a0.h2', 'a0.h1')
    """
    if not kind_of(reader):
        return node_of(reader)
    return graph.writers[int(graph.serves[graph.reader_index[reader]].nonzero()[0])]


# -- parts ------------------------------------------------------------------------------------------------------------


def _rows(finding: Finding) -> list[Row]:
    """The edges of the shown circuit, strongest first, ties in the order of `Scores.top`."""
    graph = finding.graph
    pairs = [(int(w), int(r)) for w, r in finding.shown.mask.nonzero()]
    if finding.scores is not None:
        values = finding.scores.values
        pairs.sort(key=lambda pair: -abs(float(values[pair])))
    return [_row(finding, graph, pair) for pair in pairs]


def _row(finding: Finding, graph: Graph, pair: tuple[int, int]) -> Row:
    def has(circuit: Circuit | None) -> int:
        return int(circuit is not None and bool(circuit.mask[pair]))

    writer, reader = graph.writers[pair[0]], graph.readers[pair[1]]
    return {
        "edge": f"{writer}->{reader}",
        "writer": writer,
        "reader": reader,
        "kind": kind_of(reader),
        "node": target(graph, reader),
        "score": _at(finding.scores, pair),
        "exact": _at(finding.exact, pair),
        "in_circuit": has(finding.circuit),
        "in_other": has(finding.other.circuit if finding.other is not None else None),
        "in_reference": has(finding.reference),
    }


def _at(scores: Scores | None, place: tuple[int, int]) -> float | None:
    return None if scores is None else float(scores.values[place])


def _text(value: Any) -> str:
    """A value as text that gives the same value back; the empty string for none."""
    if isinstance(value, float):
        return repr(value) if isfinite(value) else "INF" if value > 0 else "-INF"
    return "" if value is None else str(value)


def _elements(name: str, rows: list[Row]) -> str:
    """Elements of GraphML, data of which nothing is known left out."""
    found = (filled(GRAPHML[name], {key: escape(_text(value)) for key, value in row.items()}) for row in rows)
    return re.sub(GRAPHML["empty"], "", "".join(found))


def _touched(finding: Finding, rows: list[Row]) -> list[NodeEntry]:
    names = {row[end] for row in rows for end in ("writer", "node")}
    return [node_entry(name) for name in (*finding.graph.writers, "logits") if name in names]


def _node(node: NodeEntry, layers: int, last: int) -> dict[str, Any]:
    """Layers count from 1, attention and MLP one each: a graph whose layers are all 0 is not read.

    A logit's label is read up to "(p=": a circuit knows no probability, so it has no label.
    """
    places = {"input": "E", "head": 2 * node.layer + 1, "mlp": 2 * node.layer + 2, "logits": 2 * layers + 1}
    return {
        "node_id": node.name,
        "feature": max(0, node.head),
        "layer": str(places[node.kind]),
        "ctx_idx": last,
        "feature_type": FEATURE_TYPES[node.kind],
        "jsNodeId": node.name,
        "clerp": "" if node.kind == "logits" else node.name,
    }
