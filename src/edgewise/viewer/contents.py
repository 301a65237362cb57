"""From a Finding to the document of its page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import edgewise
from edgewise.curve import Curve
from edgewise.display import clean
from edgewise.errors import GraphMismatch
from edgewise.graph import HEAD, MLP, Graph
from edgewise.store.schema import GraphDocument, provenance_of
from edgewise.viewer.caption import title
from edgewise.viewer.circuit_entries import TEXT, TOKEN, circuit_entries, finite
from edgewise.viewer.document import (
    IN_A,
    IN_B,
    IN_REFERENCE,
    AttendedPrompt,
    AttentionEntry,
    CurveEntry,
    EdgeColumns,
    NodeEntry,
    PageDocument,
    ReaderEntry,
)
from edgewise.viewer.finding import Finding
from edgewise.viewer.missing import missing
from edgewise.viewer.style import kind_of

# More edges than this are no picture, and a page of many megabytes: the strongest are taken, and the page says so.
MOST_EDGES = 120_000
# What a provenance says of one circuit, and not of another one cut from the same scores.
OF_ONE_CIRCUIT = ("edges", "nodes", "neurons", "selection", "faithfulness")


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
        circuits=circuit_entries(finding),
        curves=[_curve(curve) for curve in finding.curves],
        roles={clean(role, TEXT): list(nodes) for role, nodes in finding.roles.items()},
        attention=_attention(finding.attention, graph),
        missing=missing(finding, edges),
        provenance=_without_size(finding.shown.provenance),
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


# -- what is said -----------------------------------------------------------------------------------------------------


def _ranking(known: Mapping[str, Any]) -> Any:
    chosen = known.get("selection")
    signed = isinstance(chosen, Mapping) and chosen.get("absolute") is False
    return "signed" if signed else "absolute"


def _without_size(known: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in provenance_of(known).items() if key not in OF_ONE_CIRCUIT}


def _attention(value: AttentionEntry | None, graph: Graph) -> AttentionEntry | None:
    """Where heads attend, with tokens that can be shown; GraphMismatch for heads of another model."""
    if value is None:
        return None
    if unknown := [head for head in value.heads if head not in graph.writer_index]:
        raise GraphMismatch(f"attention: {unknown[0]} is no head of the circuit's graph ({graph})")
    prompts = [
        AttendedPrompt(tokens=[clean(t.replace("\n", "⏎"), TOKEN) for t in one.tokens], answer=one.answer)
        for one in value.prompts
    ]
    return value.model_copy(update={"prompts": prompts})


def _curve(curve: Curve) -> CurveEntry:
    return CurveEntry(metric=clean(curve.metric, 60), ranking=clean(curve.ranking, 60), **curve_columns(curve))


def curve_columns(curve: Curve) -> dict[str, Any]:
    """The points of a curve as columns."""
    return {
        "edges": [point.edges for point in curve.points],
        "faithfulness": [finite(point.faithfulness) for point in curve.points],
        "random": [finite(point.random) for point in curve.points],
    }
