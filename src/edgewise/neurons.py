"""Neurons of a graph, a row of coordinates for each writer: which, by name, and the edges between their writers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.graph import Graph


def named_neurons(graph: Graph, d_model: int, neurons: Mapping[str, Iterable[int]]) -> Tensor:
    """bool [writer, d_model]: these coordinates of the named writers; UnknownName for a writer the graph does not have."""
    check_width(d_model)
    kept = torch.zeros(len(graph.writers), d_model, dtype=torch.bool)
    for writer, coordinates in neurons.items():
        if writer not in graph.writer_index:
            raise UnknownName.of("writer", writer, graph.writers)
        listed = list(coordinates)
        if wrong := [place for place in listed if not 0 <= place < d_model]:
            raise InvalidValue(f"{writer} has no neuron {wrong[0]}; it has {d_model:,}, counted from 0")
        kept[graph.writer_index[writer], listed] = True
    return kept


def edges_between(graph: Graph, kept: Tensor) -> Tensor:
    """bool [writer, reader]: all edges between kept writers, bool [writer]: none from or into any other node."""
    readers = (graph.serves & kept[None, :]).any(dim=1)
    readers[-1] = True
    return graph.edge_mask & kept[:, None] & readers[None, :]


def check_width(d_model: int) -> None:
    """InvalidValue for a width that no stream has."""
    if d_model < 1:
        raise InvalidValue(f"d_model={d_model} must be at least 1: it is how many coordinates a writer writes")


def check_neurons(graph: Graph, values: Tensor) -> None:
    """GraphMismatch for anything but one row of neurons for each writer."""
    if values.ndim != 2 or len(values) != len(graph.writers) or not values.shape[1]:
        raise GraphMismatch(
            f"the neurons have shape {tuple(values.shape)}, but the graph has {len(graph.writers)} writers"
        )
