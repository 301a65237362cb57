"""NodeScores: one number for each writer of a Graph, and, where they were asked for, for each coordinate it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.graph import Graph
from edgewise.scores import Scores


@dataclass(frozen=True, eq=False)
class NodeScores:
    """Scores of the writers: the drop of the metric when a writer's output is replaced for all its readers.

    `values` float32 [writer]; `neurons` float32 [writer, d_model], each coordinate of its output, or None. Positive means
    that the node helps.
    """

    graph: Graph
    values: Tensor
    neurons: Tensor | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.graph.writers),):
            raise GraphMismatch(f"values of shape {tuple(self.values.shape)} for {len(self.graph.writers)} writers")
        if self.neurons is not None and len(self.neurons) != len(self.values):
            raise GraphMismatch(f"neurons of {len(self.neurons)} writers on a graph of {len(self.values)}")

    @classmethod
    def of(cls, scores: Scores) -> NodeScores:
        """The sum of the scores of each writer's edges: its own score, by the chain rule, for methods made of gradients."""
        provenance = {**scores.provenance, "nodes": "sums over the edges of each writer"}
        return cls(scores.graph, scores.values.double().sum(dim=1).float(), None, provenance)

    def __getitem__(self, node: str) -> float:
        if node not in self.graph.writer_index:
            raise UnknownName.of("writer", node, self.graph.writers)
        return float(self.values[self.graph.writer_index[node]])

    def top(self, n: int, *, absolute: bool = True) -> Circuit:
        """The circuit of the n best-scored heads and MLPs: all edges between them, and those from `input` and to `logits`.

        `input` always stays, as `logits` does, and does not count. By absolute value unless `absolute=False`.
        """
        computed = self.graph.serves.any(dim=0)
        nodes = int(computed.sum())
        if not 0 <= n <= nodes:
            raise InvalidValue(f"asked for {n:,} nodes, the graph has {nodes:,} heads and MLPs; give 0 to that many")
        ranking = self.values.abs() if absolute else self.values.clone()
        order = ranking.masked_fill(~computed, -torch.inf).sort(descending=True, stable=True).indices
        kept = ~computed
        kept[order[:n]] = True
        return node_circuit(self.graph, kept, {**self.provenance, "selection": {"nodes": n, "absolute": absolute}})


def node_circuit(graph: Graph, kept: Tensor, provenance: Mapping[str, Any] | None = None) -> Circuit:
    """The circuit of all edges between kept writers, bool [writer]: no edge from or into any other node."""
    readers = (graph.serves & kept[None, :]).any(dim=1)
    readers[-1] = True
    return Circuit(graph, graph.edge_mask & kept[:, None] & readers[None, :], provenance)
