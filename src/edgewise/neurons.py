"""What is kept of a graph: edges, or neurons, which are a row of coordinates for each writer; as masks, and as sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor

from edgewise.arguments import checked_argument
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.graph import Graph


class SetOfKept(ABC):
    """What is kept of a graph, edges or neurons, with the operations of sets: `|`, `&`, `-`, `^`, `<=`, `==` and `len`.

    Two of them need the same graph and level; GraphMismatch says so.
    """

    graph: Graph

    @property
    @abstractmethod
    def level(self) -> Literal["edges", "neurons"]:
        """What it is a set of."""

    @property
    @abstractmethod
    def kept(self) -> Tensor:
        """What it keeps, bool."""

    @abstractmethod
    def _with(self, kept: Tensor, provenance: Mapping[str, Any] | None = None) -> Self:
        """One of the same level that keeps these."""

    def __or__(self, other: SetOfKept) -> Self:
        return self._with(self.kept | self._like(other).kept, {})

    def __and__(self, other: SetOfKept) -> Self:
        return self._with(self.kept & self._like(other).kept, {})

    def __sub__(self, other: SetOfKept) -> Self:
        return self._with(self.kept & ~self._like(other).kept, {})

    def __xor__(self, other: SetOfKept) -> Self:
        return self._with(self.kept ^ self._like(other).kept, {})

    def __le__(self, other: SetOfKept) -> bool:
        return not len(self - other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SetOfKept):
            return NotImplemented
        return (self.graph, self.level) == (other.graph, other.level) and torch.equal(self.kept, other.kept)

    def __hash__(self) -> int:
        return hash((self.graph, self.level, self.kept.numpy().tobytes()))

    def __len__(self) -> int:
        return int(self.kept.sum())

    def _like(self, other: SetOfKept) -> SetOfKept:
        other = checked_argument("what a circuit is combined with", type(self), other)
        if self.graph != other.graph or self.kept.shape != other.kept.shape:
            raise GraphMismatch(f"the circuits are of different graphs: {self._space} and {other._space}")
        if self.level != other.level:
            raise GraphMismatch(
                f"one circuit is of {self.level}, the other of {other.level}; compare their edges: a.circuit, b.circuit"
            )
        return other

    @property
    def _space(self) -> str:
        return str(self.graph) if self.level == "edges" else f"{self.graph} with {self.kept.shape[1]} neurons a writer"


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


def checked_mask(graph: Graph, mask: Tensor) -> Tensor:
    """A copy of the mask, bool [writer, reader]; GraphMismatch for another shape, InvalidValue for what is no edge."""
    if mask.shape != graph.edge_mask.shape:
        raise GraphMismatch(
            f"the mask has shape {tuple(mask.shape)}, but the graph needs {tuple(graph.edge_mask.shape)}"
        )
    mask = mask.detach().bool().cpu().clone()
    if bool((mask & ~graph.edge_mask).any()):
        raise InvalidValue("the mask keeps pairs that are not edges of the graph")
    return mask
