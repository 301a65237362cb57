"""Scores: one number for each edge of a Graph, with its provenance."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.display import rich
from edgewise.errors import GraphMismatch, InvalidValue, NumericalError
from edgewise.graph import Graph


@final
class Scores:
    """One float for each edge: positive means that the edge helps.

    The score of an edge is the predicted (or, for `exact`, measured) *drop* of the metric (higher is better) when that
    edge alone is replaced: mean over examples, summed over positions and model dimensions. `values` is float32
    [writer, reader], zero where the pair is no edge.
    """

    def __init__(self, graph: Graph, values: Tensor, provenance: Mapping[str, Any] | None = None) -> None:
        if values.shape != graph.edge_mask.shape:
            raise GraphMismatch(f"values of shape {tuple(values.shape)} on a graph of {tuple(graph.edge_mask.shape)}")
        values = values.detach().to("cpu", torch.float32).masked_fill(~graph.edge_mask, 0.0)
        if bool(values.isnan().any()):
            w, r = (int(i) for i in values.isnan().nonzero()[0])
            raise NumericalError(f"the score of {graph.edge_name(w, r)} is NaN")
        self.graph = graph
        self.values = values
        self.provenance: Mapping[str, Any] = MappingProxyType(dict(provenance or {}))

    def __getitem__(self, edge: str) -> float:
        return float(self.values[self.graph.edge_index(edge)])

    def __len__(self) -> int:
        return self.graph.n_edges

    def items(self) -> list[tuple[str, float]]:
        """(edge, score) of every edge, reader by reader in index order."""
        return [(edge, self[edge]) for edge in self.graph.edges]

    # -- selection --------------------------------------------------------------------------------------------------

    def top(self, n: int, *, absolute: bool = True) -> Circuit:
        """The n edges with the largest score, by absolute value unless `absolute=False`; ties in index order.

        Exactly n edges: call `without_dangling()` to drop those on no path. `top(0)` is the empty circuit.
        """
        if not 0 <= n <= self.graph.n_edges:
            raise InvalidValue(f"asked for {n:,} edges, the graph has {self.graph.n_edges:,}; give 0 to that many")
        ranking = self._ranking(absolute).masked_fill(~self.graph.edge_mask, -torch.inf)
        order = ranking.flatten().sort(descending=True, stable=True).indices
        # A real edge may score -inf too, so fill the edges first and let non-edges follow.
        order = order[self.graph.edge_mask.flatten()[order]]
        mask = torch.zeros(self.graph.edge_mask.numel(), dtype=torch.bool)
        mask[order[:n]] = True
        return self._circuit(mask.view_as(self.graph.edge_mask), {"select": "top", "n": n, "absolute": absolute})

    def above(self, threshold: float, *, absolute: bool = True) -> Circuit:
        """The edges whose score, by absolute value unless `absolute=False`, is at least `threshold`."""
        if threshold != threshold:
            raise InvalidValue("the threshold is nan: nothing can be compared with it")
        mask = (self._ranking(absolute) >= threshold) & self.graph.edge_mask
        return self._circuit(mask, {"select": "above", "threshold": threshold, "absolute": absolute})

    def greedy(self, n: int, *, absolute: bool = True) -> Circuit:
        """At most n edges, best first from the output: only edges into what already reaches `logits` are candidates.

        A writer that is reached brings in the edges into all readers it is computed from. What is left out is an edge,
        however large its score, whose writer leads nowhere in the circuit. Ranked by absolute value unless `absolute=False`.
        """
        if not 0 <= n <= self.graph.n_edges:
            raise InvalidValue(f"asked for {n:,} edges, the graph has {self.graph.n_edges:,}; give 0 to that many")
        mask = torch.zeros_like(self.graph.edge_mask)
        for writer, reader in _best_first(self.graph, self._ranking(absolute), n):
            mask[writer, reader] = True
        return self._circuit(mask, {"select": "greedy", "n": n, "absolute": absolute})

    def _ranking(self, absolute: bool) -> Tensor:
        return self.values.abs() if absolute else self.values

    def _circuit(self, mask: Tensor, selection: dict[str, Any]) -> Circuit:
        return Circuit(self.graph, mask, {**self.provenance, "selection": selection})

    # -- comparison -------------------------------------------------------------------------------------------------

    def agreement(self, other: Scores, *, top: int | None = None) -> dict[str, float]:
        """How far two sets of scores agree: `pearson`, `spearman` of the values, `overlap` of the top edges.

        `overlap` is the share of the `top` edges by absolute value (default: a tenth of all) that both have.
        """
        if self.graph != other.graph:
            raise GraphMismatch(f"scores on different graphs: {self.graph} and {other.graph}")
        n = max(1, self.graph.n_edges // 10) if top is None else top
        if n < 1:
            raise InvalidValue(f"top={n}: the overlap needs at least one edge")
        mine, theirs = self.values[self.graph.edge_mask], other.values[self.graph.edge_mask]
        shared = len(self.top(n) & other.top(n)) / n
        return {
            "pearson": pearson(mine, theirs),
            "spearman": pearson(ranks(mine), ranks(theirs)),
            "overlap": shared,
        }

    def _repr_html_(self) -> str | None:
        return rich(self)

    def __repr__(self) -> str:
        method = self.provenance.get("method", "scores")
        return f"<Scores: {method} on {self.graph}>"


def _best_first(graph: Graph, ranking: Tensor, n: int) -> Iterator[tuple[int, int]]:
    """(writer, reader) of n edges, each the best of those into readers reached so far, starting from `logits`."""
    reached: set[int] = set()
    queue: list[tuple[float, int, int]] = []

    def reach(reader: int) -> None:
        if reader not in reached:
            reached.add(reader)
            writers = graph.edge_mask[:, reader].nonzero().flatten().tolist()
            for writer in writers:
                heapq.heappush(queue, (-float(ranking[writer, reader]), writer, reader))

    reach(len(graph.readers) - 1)
    while queue and n:
        _, writer, reader = heapq.heappop(queue)
        n -= 1
        yield writer, reader
        for needed in graph.serves[:, writer].nonzero().flatten().tolist():
            reach(needed)


def pearson(a: Tensor, b: Tensor) -> float:
    """Pearson's coefficient of two lists of numbers; NaN where one of them is constant."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm else float("nan")


def ranks(values: Tensor) -> Tensor:
    """Average ranks from 1, as in Spearman's coefficient: equal values share the mean of their ranks."""
    _, inverse, counts = values.unique(sorted=True, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]
