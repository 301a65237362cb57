"""What differs between scores of edges, of nodes and of neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, NumericalError, UnknownName
from edgewise.graph import Graph
from edgewise.neurons import check_neurons, edges_between

LevelName = Literal["edges", "nodes", "neurons"]


@final
@dataclass(frozen=True)
class ScoreLevel:
    """What differs between scores of edges, of nodes and of neurons.

    `checked` gives the values as they are kept, or refuses them; `place` where a name's score is; `selectable`, bool like the
    values, which can be selected; `circuit` that of the kept ones; `selection` what its provenance says of their number.
    """

    checked: Callable[[Graph, Tensor], Tensor]
    place: Callable[[Graph, str], Any]
    selectable: Callable[[Graph, Tensor], Tensor]
    circuit: Callable[[Graph, Tensor, dict[str, Any]], Circuit]
    selection: Callable[[int], dict[str, Any]]


def _checked_edges(graph: Graph, values: Tensor) -> Tensor:
    if values.shape != graph.edge_mask.shape:
        raise GraphMismatch(
            f"the values have shape {tuple(values.shape)}, but the graph needs {tuple(graph.edge_mask.shape)}"
        )
    values = _plain(values).masked_fill(~graph.edge_mask, 0.0)
    if bool(values.isnan().any()):
        w, r = (int(i) for i in values.isnan().nonzero()[0])
        raise NumericalError(f"the score of {graph.edge_name(w, r)} is NaN")
    return values


def _checked_nodes(graph: Graph, values: Tensor) -> Tensor:
    if values.shape != (len(graph.writers),):
        raise GraphMismatch(
            f"the values have shape {tuple(values.shape)}, but the graph has {len(graph.writers)} writers"
        )
    return _plain(values)


def _checked_neurons(graph: Graph, values: Tensor) -> Tensor:
    check_neurons(graph, values)
    values = _plain(values)
    if bool(values.isnan().any()):
        writer, place = (int(i) for i in values.isnan().nonzero()[0])
        raise NumericalError(f"the score of neuron {place} of {graph.writers[writer]} is NaN")
    return values


def _plain(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float32)


def _writer(graph: Graph, name: str) -> int:
    if name not in graph.writer_index:
        raise UnknownName.of("writer", name, graph.writers)
    return graph.writer_index[name]


def _computed(graph: Graph, values: Tensor) -> Tensor:
    """Heads and MLPs: the writers that are computed from what they read."""
    return graph.serves.any(dim=0)


def _circuit_of_nodes(graph: Graph, kept: Tensor, provenance: dict[str, Any]) -> Circuit:
    return Circuit(graph, edges_between(graph, kept | ~graph.serves.any(dim=0)), provenance)


LEVELS: dict[LevelName, ScoreLevel] = {
    "edges": ScoreLevel(
        _checked_edges, Graph.edge_index, lambda graph, _: graph.edge_mask, Circuit, lambda n: {"select": "top", "n": n}
    ),
    "nodes": ScoreLevel(_checked_nodes, _writer, _computed, _circuit_of_nodes, lambda n: {"nodes": n}),
    "neurons": ScoreLevel(
        _checked_neurons,
        _writer,
        lambda _, values: torch.ones_like(values, dtype=torch.bool),
        Circuit.of_neurons,
        lambda n: {"select": "top", "neurons": n},
    ),
}
