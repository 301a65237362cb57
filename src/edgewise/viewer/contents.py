"""From a Finding to the document of its page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import edgewise
from edgewise.curve import Curve
from edgewise.graph import HEAD, MLP, Graph
from edgewise.store.schema import GraphDocument
from edgewise.viewer.caption import clean, facts, title
from edgewise.viewer.document import (
    IN_A,
    IN_B,
    IN_REFERENCE,
    CircuitEntry,
    CurveEntry,
    EdgeColumns,
    ExampleEntry,
    MetricEntry,
    NodeEntry,
    PageDocument,
    ReaderEntry,
)
from edgewise.viewer.finding import Finding
from edgewise.viewer.missing import missing, repeat
from edgewise.viewer.style import kind_of

# More edges than this are no picture, and a page of many megabytes: the strongest are taken, and the page says so.
MOST_EDGES = 120_000
TEXT, TOKEN, TOKENS, ANSWERS = 400, 60, 400, 12
METRIC = ("clean", "corrupted", "circuit", "random", "faithfulness", "random_faithfulness")


def document(finding: Finding) -> PageDocument:
    """The document of a finding's page; GraphMismatch if its parts are of different graphs."""
    graph = finding.graph
    edges = _edges(finding, graph)
    return PageDocument(
        title=title(finding.shown),
        model=clean(finding.shown.provenance.get("model") or "unknown", 200),
        edgewise=edgewise.__version__,
        graph=GraphDocument.of(graph),
        nodes=_nodes(graph),
        readers=_readers(graph),
        edges=edges,
        ranking=_ranking(finding.shown.provenance),
        circuits=_circuits(finding),
        curves=[_curve(curve) for curve in finding.curves],
        roles={clean(role, TEXT): list(nodes) for role, nodes in finding.roles.items()},
        missing=missing(finding, edges),
    )


# -- graph and edges --------------------------------------------------------------------------------------------------


def _nodes(graph: Graph) -> list[NodeEntry]:
    return [node_entry(name) for name in (*graph.writers, "logits")]


def node_entry(name: str) -> NodeEntry:
    """What a node of that name is."""
    head, mlp = HEAD.fullmatch(name), MLP.fullmatch(name)
    if head is not None:
        return NodeEntry(name=name, kind="head", layer=int(head[1]), head=int(head[2]))
    if mlp is not None:
        return NodeEntry(name=name, kind="mlp", layer=int(mlp[1]), head=-1)
    return NodeEntry(name=name, kind="logits" if name == "logits" else "input", layer=-1, head=-1)


def _readers(graph: Graph) -> list[ReaderEntry]:
    fed = [row.nonzero().flatten().tolist() for row in graph.serves]
    fed[-1] = [len(graph.writers)]
    return [
        ReaderEntry(name=name, kind=kind_of(name), nodes=nodes) for name, nodes in zip(graph.readers, fed, strict=True)
    ]


def _edges(finding: Finding, graph: Graph) -> EdgeColumns:
    masks = _masks(finding)
    writer, reader = _order(finding, graph, masks)
    flags = torch.zeros(len(writer), dtype=torch.uint8)
    for bit, mask in masks.items():
        flags |= mask[writer, reader].to(torch.uint8) * bit
    columns = {
        "score": finding.scores,
        "exact": finding.exact,
        "other": finding.other.scores if finding.other is not None else None,
    }
    return EdgeColumns(
        count=len(writer),
        total=graph.n_edges,
        writer=packed(writer, "<u2"),
        reader=packed(reader, "<u2"),
        flags=packed(flags, "<u1"),
        **{name: packed(s.values[writer, reader], "<f4") if s is not None else None for name, s in columns.items()},
    )


def _masks(finding: Finding) -> dict[int, Tensor]:
    circuits = {
        IN_A: finding.circuit,
        IN_B: finding.other.circuit if finding.other is not None else None,
        IN_REFERENCE: finding.reference,
    }
    return {bit: circuit.mask for bit, circuit in circuits.items() if circuit is not None}


def _order(finding: Finding, graph: Graph, masks: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
    """Writers and readers of the edges on the page: those of its circuits and all scored ones, as `Scores.top` ranks."""
    wanted = torch.zeros_like(graph.edge_mask)
    for mask in masks.values():
        wanted |= mask
    if finding.scores is None:
        writer, reader = wanted.nonzero().T
        return writer, reader
    strength = finding.scores.values.abs().masked_fill(~graph.edge_mask, -1.0).flatten()
    order = strength.sort(descending=True, stable=True).indices[: graph.n_edges]
    place = torch.arange(len(order))
    order = order[(place < MOST_EDGES) | wanted.flatten()[order]]
    writer, reader = order // graph.edge_mask.shape[1], order % graph.edge_mask.shape[1]
    return writer, reader


def packed(values: Tensor, kind: str) -> str:
    """base64 of the values as a little-endian array.

    >>> packed(torch.tensor([1, 256]), "<u2")
    'AQAAAQ=='
    """
    return base64.b64encode(values.numpy().astype(np.dtype(kind)).tobytes()).decode("ascii")


# -- circuits ---------------------------------------------------------------------------------------------------------


def _circuits(finding: Finding) -> list[CircuitEntry]:
    found = [_circuit("a", finding)]
    if finding.other is not None:
        found.append(_circuit("b", finding.other))
    if finding.reference is not None:
        known = finding.reference.provenance
        label = f"reference: {known.get('reference', 'published circuit')}"
        found.append(_circuit("reference", Finding(finding.reference, label=label)))
    return found


def _circuit(key: Any, finding: Finding) -> CircuitEntry:
    circuit = finding.shown
    known = circuit.provenance
    return CircuitEntry(
        key=key,
        label=clean(finding.label or title(circuit), 90),
        described=clean(circuit.describe(), TEXT) if finding.circuit is not None else "scores, no circuit",
        edges=len(circuit) if finding.circuit is not None else 0,
        has_path=circuit.has_path,
        facts=[(clean(label, TEXT), clean(text, TEXT)) for label, text in _told(finding)],
        metrics=_metrics(finding.report),
        judged=_judged(finding.report),
        examples=examples(known),
        repeat=repeat(known.get("recipe")),
    )


def _told(finding: Finding) -> list[tuple[str, str]]:
    """The facts of the circuit; of scores alone, without the size of the circuit that a picture takes from them."""
    found = facts(finding.shown)
    return (
        found
        if finding.circuit is not None
        else [section for section in found if section[0] not in ("edges", "selection")]
    )


def listed(value: Any) -> list[Any]:
    """What should be a list, as one; empty if it is something else."""
    return list(value) if isinstance(value, list | tuple) else []


def _metrics(report: Mapping[str, Any]) -> list[MetricEntry]:
    metrics = report.get("metrics")
    if not isinstance(metrics, Mapping):
        return []
    rows = [(name, row) for name, row in metrics.items() if isinstance(row, Mapping)]
    seen = _inner(_inner(report, "found_on"), "metrics")
    return [
        MetricEntry(
            name=clean(name, 60),
            **{key: finite(row.get(key)) for key in METRIC},
            found_on=finite(_inner(seen, name).get("faithfulness")),
        )
        for name, row in rows
    ]


def _judged(report: Mapping[str, Any]) -> str:
    """Which pairs a circuit was judged on, and how much closer to the model it is on those it was found on."""
    examples, seen = report.get("examples"), _inner(report, "found_on")
    if not isinstance(examples, int):
        return ""
    if not seen:
        return f"measured on {examples:,} {'held-out ' if report.get('held_out') is True else ''}pairs"
    ratio = finite(seen.get("overfitting"))
    times = "" if ratio is None else f"; KL is {ratio:.2f} × that on those it was found on"
    return f"measured on {examples:,} held-out pairs{times}"


def _inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = value.get(name)
    return inner if isinstance(inner, Mapping) else {}


def examples(provenance: Mapping[str, Any]) -> list[ExampleEntry]:
    """The example prompts of a circuit, as far as they are usable."""
    return [_example(prompt) for prompt in listed(provenance.get("prompts")) if isinstance(prompt, Mapping)]


def _example(value: Mapping[str, Any]) -> ExampleEntry:
    def words(name: str, most: int) -> list[str]:
        return [clean(token, TOKEN) for token in listed(value.get(name))[:most]]

    return ExampleEntry(
        clean=words("clean", TOKENS),
        corrupted=words("corrupted", TOKENS),
        correct=words("correct", ANSWERS),
        wrong=words("wrong", ANSWERS),
    )


def finite(value: Any) -> float | None:
    """A number that JSON can hold, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


# -- what is said -----------------------------------------------------------------------------------------------------


def _ranking(known: Mapping[str, Any]) -> Any:
    chosen = known.get("selection")
    signed = isinstance(chosen, Mapping) and chosen.get("absolute") is False
    return "signed" if signed else "absolute"


def _curve(curve: Curve) -> CurveEntry:
    return CurveEntry(metric=clean(curve.metric, 60), ranking=clean(curve.ranking, 60), **curve_columns(curve))


def curve_columns(curve: Curve) -> dict[str, Any]:
    """The points of a curve as columns."""
    return {
        "edges": [point.edges for point in curve.points],
        "faithfulness": [finite(point.faithfulness) for point in curve.points],
        "random": [finite(point.random) for point in curve.points],
    }
