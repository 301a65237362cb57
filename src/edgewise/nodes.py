"""NodeScores: one number for each writer of a Graph, and, where they were asked for, for each coordinate it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from edgewise.circuit import Circuit, node_circuit
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.graph import Graph
from edgewise.neurons import NeuronScores
from edgewise.scores import Scores


@final
@dataclass(frozen=True, eq=False)
class NodeScores:
    """Scores of the writers: the drop of the metric when a writer's output is replaced for all its readers.

    `values` float32 [writer]; `neurons` float32 [writer, d_model], each coordinate of its output, or None. Positive means
    that the node helps. `top` and `above` select circuits of nodes, those of `neuron_scores` circuits of neurons.
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

    def __len__(self) -> int:
        """How many nodes can be selected: heads and MLPs."""
        return int(self._computed.sum())

    @property
    def neuron_scores(self) -> NeuronScores:
        """The scores of the neurons, to select from; InvalidValue if there are none."""
        if self.neurons is None:
            raise InvalidValue("these node scores have no neurons: score them with attribute_nodes")
        return NeuronScores(self.graph, self.neurons, self.provenance)

    def top(self, n: int, *, absolute: bool = True) -> Circuit:
        """The circuit of the n best-scored heads and MLPs: all edges between them, and those from `input` and to `logits`.

        `input` always stays, as `logits` does, and does not count. By absolute value unless `absolute=False`.
        """
        if not 0 <= n <= len(self):
            raise InvalidValue(
                f"asked for {n:,} nodes, the graph has {len(self):,} heads and MLPs; give 0 to that many"
            )
        ranking = self._ranking(absolute).masked_fill(~self._computed, -torch.inf)
        kept = ~self._computed
        kept[ranking.sort(descending=True, stable=True).indices[:n]] = True
        return self._circuit(kept, {"nodes": n, "absolute": absolute})

    def above(self, threshold: float, *, absolute: bool = True) -> Circuit:
        """The circuit of the heads and MLPs that score at least `threshold`, by absolute value unless `absolute=False`."""
        if threshold != threshold:
            raise InvalidValue("the threshold is nan: nothing can be compared with it")
        kept = ~self._computed | (self._ranking(absolute) >= threshold)
        return self._circuit(kept, {"select": "above", "threshold": threshold, "absolute": absolute})

    @property
    def _computed(self) -> Tensor:
        return self.graph.serves.any(dim=0)

    def _ranking(self, absolute: bool) -> Tensor:
        return self.values.abs() if absolute else self.values

    def _circuit(self, kept: Tensor, selection: dict[str, Any]) -> Circuit:
        return node_circuit(self.graph, kept, {**self.provenance, "selection": selection})
