"""Circuit: a set of edges of a Graph, with its provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

from edgewise.display import rich
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.graph import Graph


@final
class Circuit:
    """A set of edges of a Graph: immutable, comparable, with set algebra.

    `mask` is bool [writer, reader]. `provenance` is a read-only mapping that says where the circuit comes from.
    `a | b`, `a & b`, `a - b`, `a ^ b`, `a <= b`, `edge in a`, `len(a)` are those of sets and need equal graphs.
    """

    def __init__(self, graph: Graph, mask: Tensor, provenance: Mapping[str, Any] | None = None) -> None:
        if mask.shape != graph.edge_mask.shape:
            raise GraphMismatch(f"mask of shape {tuple(mask.shape)} on a graph of {tuple(graph.edge_mask.shape)}")
        mask = mask.detach().bool().cpu().clone()
        if bool((mask & ~graph.edge_mask).any()):
            raise InvalidValue("the mask keeps pairs that are no edges of the graph")
        self.graph = graph
        self.mask = mask
        self.provenance: Mapping[str, Any] = MappingProxyType(dict(provenance or {}))

    @classmethod
    def from_edges(cls, graph: Graph, edges: Iterable[str], provenance: Mapping[str, Any] | None = None) -> Circuit:
        """The circuit with the named edges; UnknownName for an edge the graph does not have."""
        mask = torch.zeros_like(graph.edge_mask)
        for edge in edges:
            mask[graph.edge_index(edge)] = True
        return cls(graph, mask, provenance)

    @classmethod
    def full(cls, graph: Graph) -> Circuit:
        """The circuit that keeps every edge."""
        return cls(graph, graph.edge_mask)

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """Names of the kept edges, reader by reader in index order."""
        return tuple(self.graph.edge_name(int(w), int(r)) for r, w in self.mask.T.nonzero())

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Names of the writers with a kept edge out of them or into one of their readers, in index order."""
        touched = self.mask.any(dim=1) | self._writers_with_input()
        return tuple(name for name, on in zip(self.graph.writers, touched.tolist(), strict=True) if on)

    # -- dangling edges ---------------------------------------------------------------------------------------------

    def without_dangling(self) -> Circuit:
        """The circuit without edges that lie on no path from an input writer to `logits`.

        A head counts as one node: an edge into its q keeps the edges out of it. Dropping the rest does not change what
        the circuit computes: a node that no input writer reaches outputs its replacement (law 7).
        """
        mask = self.mask & self.live_writers[:, None]
        return Circuit(self.graph, mask & useful_readers(self.graph, mask)[None, :], self.provenance)

    @cached_property
    def live_writers(self) -> Tensor:
        """bool [writer]: those that an input writer reaches over kept edges; all others output their replacement."""
        return live_writers(self.graph, self.mask)

    @property
    def has_path(self) -> bool:
        """Whether a path leads from an input writer to `logits`."""
        return bool((self.mask[:, -1] & self.live_writers).any())

    def _writers_with_input(self) -> Tensor:
        return (self.graph.serves.T.float() @ self.mask.any(dim=0).float()) > 0

    # -- set algebra ------------------------------------------------------------------------------------------------

    def __or__(self, other: Circuit) -> Circuit:
        return Circuit(self.graph, self.mask | self._same_graph(other).mask)

    def __and__(self, other: Circuit) -> Circuit:
        return Circuit(self.graph, self.mask & self._same_graph(other).mask)

    def __sub__(self, other: Circuit) -> Circuit:
        return Circuit(self.graph, self.mask & ~self._same_graph(other).mask)

    def __xor__(self, other: Circuit) -> Circuit:
        return Circuit(self.graph, self.mask ^ self._same_graph(other).mask)

    def __le__(self, other: Circuit) -> bool:
        return not len(self - other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Circuit):
            return NotImplemented
        return self.graph == other.graph and torch.equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self.graph, self.edges))

    def __contains__(self, edge: str) -> bool:
        return bool(self.mask[self.graph.edge_index(edge)])

    def __len__(self) -> int:
        return int(self.mask.sum())

    def jaccard(self, other: Circuit) -> float:
        """Shared edges over all edges of the two circuits; 1.0 when both are empty."""
        union = len(self | other)
        return len(self & other) / union if union else 1.0

    def _same_graph(self, other: Circuit) -> Circuit:
        if self.graph != other.graph:
            raise GraphMismatch(f"circuits of different graphs: {self.graph} and {other.graph}")
        return other

    def with_provenance(self, **entries: Any) -> Circuit:
        """The same circuit with entries added to its provenance."""
        return Circuit(self.graph, self.mask, {**self.provenance, **entries})

    # -- text -------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """One line: how many edges out of how many, how many nodes, and whether the circuit is connected."""
        total = self.graph.n_edges
        share = f"{len(self):,} of {total:,} edges ({len(self) / total:.2%})"
        path = "" if self.has_path else "; no path from input to logits"
        return f"{share}, {len(self.nodes)} of {len(self.graph.writers)} writers{path}"

    def _repr_html_(self) -> str | None:
        return rich(self)

    def __repr__(self) -> str:
        return f"<Circuit: {self.describe()}>"


def node_circuit(graph: Graph, kept: Tensor, provenance: Mapping[str, Any] | None = None) -> Circuit:
    """The circuit of all edges between kept writers, bool [writer]: no edge from or into any other node."""
    readers = (graph.serves & kept[None, :]).any(dim=1)
    readers[-1] = True
    return Circuit(graph, graph.edge_mask & kept[:, None] & readers[None, :], provenance)


def live_writers(graph: Graph, mask: Tensor) -> Tensor:
    """bool [writer]: those that an input writer reaches over edges of `mask` [writer, reader] that are not zero."""
    kept, live = mask != 0, torch.zeros(len(graph.writers), dtype=torch.bool)
    live[: len(graph.inputs)] = True
    serves = graph.serves
    for layer in range(graph.layers):
        attention, heads = graph.attention_readers(layer), graph.head_writers(layer)
        fed = (kept[:, attention] & live[:, None]).any(dim=0)
        live[heads] = (serves[attention, heads] & fed[:, None]).any(dim=0)
        if graph.mlps:
            live[graph.mlp_writer(layer)] = bool((kept[:, graph.mlp_reader(layer)] & live).any())
    return live


def useful_readers(graph: Graph, mask: Tensor) -> Tensor:
    """bool [reader]: those whose node reaches `logits` over edges of `mask` [writer, reader] that are not zero."""
    kept, useful = mask != 0, torch.zeros(len(graph.readers), dtype=torch.bool)
    useful[-1] = True
    for layer in reversed(range(graph.layers)):
        if graph.mlps:
            useful[graph.mlp_reader(layer)] = bool((kept[graph.mlp_writer(layer)] & useful).any())
        attention, heads = graph.attention_readers(layer), graph.head_writers(layer)
        read = (kept[heads] & useful).any(dim=1)
        useful[attention] = (graph.serves[attention, heads] & read).any(dim=1)
    return useful


def writers_on_path(graph: Graph, mask: Tensor) -> Tensor:
    """bool [writer]: those on a path from an input writer to `logits` over edges that are not zero, and all input writers."""
    live = live_writers(graph, mask)
    on_path = live & ((mask != 0) & useful_readers(graph, mask)).any(dim=1)
    on_path[: len(graph.inputs)] = True
    return on_path
