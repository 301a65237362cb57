"""Scores: one number for each edge, node or neuron of a Graph, with its provenance."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

from edgewise.arguments import Size, count_of, typed_methods
from edgewise.circuit import Circuit
from edgewise.display import clean, rich
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.graph import Graph
from edgewise.score_levels import LEVELS, LevelName


@final
@typed_methods
class Scores:
    """One number for each edge, node or neuron of a Graph; a positive number means that it helps.

    A score is the predicted drop of the metric (for "exact" the measured one; higher is better) when this edge, node or
    neuron alone is replaced: mean over examples, sum over positions and model dimensions.

    `graph`, `provenance`: the graph that is scored; a read-only mapping that says where the scores come from.
    `values`: float32; [writer, reader] for edges (0 where the pair is no edge), [writer] for nodes, [writer, d_model]
    for neurons. NaN is refused.
    `level`: "edges", "nodes" or "neurons".
    `parts`: for nodes, the Scores of the neurons that they sum up, if known.

    >>> graph = Graph(layers=1, heads=1, kv_heads=1, mlps=False)
    >>> scores = Scores(graph, torch.tensor([[0.5, 0.1, 0.1, -2.0], [0.0, 0.0, 0.0, 1.0]]))
    >>> scores["input->logits"], scores.top(2).edges
    (-2.0, ('input->logits', 'a0.h0->logits'))
    """

    def __init__(
        self,
        graph: Graph,
        values: Tensor,
        provenance: Mapping[str, Any] | None = None,
        *,
        level: LevelName = "edges",
        parts: Scores | None = None,
    ) -> None:
        self.graph = graph
        self.level: LevelName = level
        self._of = LEVELS[level]
        self.values = self._of.checked(graph, values)
        self.parts = parts
        self.provenance: Mapping[str, Any] = MappingProxyType(dict(provenance or {}))

    def __getitem__(self, name: str) -> Any:
        """The score of an edge or node by its name, a float; for neurons those of one writer, float32 [d_model]."""
        value = self.values[self._of.place(self.graph, name)]
        return value if value.ndim else float(value)

    def __len__(self) -> int:
        """How many can be selected: edges, heads and MLPs, or neurons."""
        return int(self._of.selectable(self.graph, self.values).sum())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scores):
            return NotImplemented
        same = (self.graph, self.level) == (other.graph, other.level) and self.parts == other.parts
        return same and torch.equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self.graph, self.level, self.values.numpy().tobytes()))

    def items(self) -> list[tuple[str, Any]]:
        """All (name, score) pairs: edges reader by reader in index order, nodes and neurons writer by writer."""
        return [(name, self[name]) for name in (self.graph.edges if self.level == "edges" else self.graph.writers)]

    # -- other levels -----------------------------------------------------------------------------------------------

    @property
    def of_nodes(self) -> Scores:
        """The sum of each writer's scores; for methods made of gradients this is the score of the node itself."""
        if self.level == "nodes":
            return self
        sums = self.values.double().sum(dim=1).float()
        if self.level == "neurons":
            return Scores(self.graph, sums, self.provenance, level="nodes", parts=self)
        return Scores(
            self.graph, sums, {**self.provenance, "nodes": "sums over the edges of each writer"}, level="nodes"
        )

    @property
    def neuron_scores(self) -> Scores:
        """The scores of the neurons, as Scores to select from; InvalidValue if they are not known."""
        if self.level == "neurons":
            return self
        if self.parts is None:
            raise InvalidValue(f"these {self.level[:-1]} scores have no neurons: score them with attribute_nodes")
        return self.parts

    def at(self, level: LevelName) -> Scores:
        """These scores at another `level`, "edges", "nodes" or "neurons"; InvalidValue where it is not known."""
        if level == "edges" and self.level != "edges":
            raise InvalidValue(f"scores of {self.level} say nothing about single edges")
        return {"edges": lambda: self, "nodes": lambda: self.of_nodes, "neurons": lambda: self.neuron_scores}[level]()

    @property
    def neurons(self) -> Tensor | None:
        """The scores of the neurons, float32 [writer, d_model]; None if they are not known."""
        return self.values if self.level == "neurons" else self.parts.values if self.parts is not None else None

    # -- selection --------------------------------------------------------------------------------------------------

    def top(self, n: Size, *, absolute: bool = True) -> Circuit:
        """The circuit of the `n` best-scored edges, nodes or neurons; of equal scores the first in index order.

        `n`: exactly how many, or a share of all, such as "10%"; call `without_dangling()` on the result to drop
        those on no path.
        `absolute`: whether to rank by absolute value, or by signed value.
        Returns a Circuit. For nodes, it has all edges between the chosen ones, from the input writers and to `logits`; input
        writers always stay and do not count. Neurons of input writers count like all others, as in MIB. Raises
        InvalidValue if there are fewer than `n`.
        """
        n = self.count(n)
        return self._circuit(self._best(n, absolute), {**self._of.selection(n), "absolute": absolute})

    def above(self, threshold: float, *, absolute: bool = True) -> Circuit:
        """The circuit of all edges, nodes or neurons whose score is at least `threshold`.

        `absolute`: whether the absolute value of a score is compared with it, or the signed value. Raises InvalidValue
        for NaN.
        """
        if threshold != threshold:
            raise InvalidValue("the threshold is nan: nothing can be compared with it")
        kept = (self._ranking(absolute) >= threshold) & self._of.selectable(self.graph, self.values)
        return self._circuit(kept, {"select": "above", "threshold": threshold, "absolute": absolute})

    def greedy(self, n: Size, *, absolute: bool = True) -> Circuit:
        """The circuit that grows backwards from `logits`, always by the best edge into what already reaches `logits`.

        `n`: how many edges at most, or a share of all; `absolute`: whether to rank by absolute value, or by signed value.

        A writer that is reached brings in the edges into all readers it is computed from. An edge whose writer leads
        nowhere in the circuit is left out, however large its score. Raises InvalidValue for scores of nodes or neurons.
        """
        if self.level != "edges":
            raise InvalidValue(f"only edges can be selected greedily, not {self.level}; use signed or absolute")
        n = self.count(n)
        mask = torch.zeros_like(self.graph.edge_mask)
        for writer, reader in _best_first(self.graph, self._ranking(absolute), n):
            mask[writer, reader] = True
        return self._circuit(mask, {"select": "greedy", "n": n, "absolute": absolute})

    def count(self, size: Size) -> int:
        """How many edges, nodes or neurons a `size` is: a number, or a share such as "10%"; InvalidValue for others."""
        return count_of(size, len(self), self.level, least=0)

    def _best(self, n: int, absolute: bool) -> Tensor:
        """bool, like the values: the n best."""
        selectable = self._of.selectable(self.graph, self.values).flatten()
        order = self._ranking(absolute).flatten().masked_fill(~selectable, -torch.inf)
        order = order.sort(descending=True, stable=True).indices
        # A real score may be -inf too, so those that can be selected come first.
        kept = torch.zeros_like(selectable)
        kept[order[selectable[order]][:n]] = True
        return kept.view_as(self.values)

    def _ranking(self, absolute: bool) -> Tensor:
        return self.values.abs() if absolute else self.values

    def _circuit(self, kept: Tensor, selection: dict[str, Any]) -> Circuit:
        return self._of.circuit(self.graph, kept, {**self.provenance, "selection": selection})

    def with_provenance(self, **entries: Any) -> Scores:
        """The same scores with `entries` added to their provenance."""
        parts = None if self.parts is None else self.parts.with_provenance(**entries)
        return Scores(self.graph, self.values, {**self.provenance, **entries}, level=self.level, parts=parts)

    # -- comparison -------------------------------------------------------------------------------------------------

    def agreement(self, other: Scores, *, top: Size | None = None) -> dict[str, float]:
        """How far these scores agree with `other` ones on the same graph and level.

        `top`: how many of the best, by absolute value, the overlap compares; by default a tenth of all.
        Returns the correlations `pearson` and `spearman` of the signed scores, and `overlap`, the share of the top ones
        that both have. Raises GraphMismatch for scores of another graph or level.
        """
        if self.graph != other.graph or self.level != other.level:
            raise GraphMismatch(f"the scores are of different graphs: {self._space} and {other._space}")
        n = count_of("10%" if top is None else top, len(self), self.level)
        selectable = self._of.selectable(self.graph, self.values)
        mine, theirs = self.values[selectable], other.values[selectable]
        return {
            "pearson": pearson(mine, theirs),
            "spearman": pearson(ranks(mine), ranks(theirs)),
            "overlap": int((self._best(n, True) & other._best(n, True)).sum()) / n,
        }

    @property
    def _space(self) -> str:
        return f"{self.graph}" if self.level == "edges" else f"{self.level} of {self.graph}"

    def _repr_html_(self) -> str | None:
        return rich(self) if self.level == "edges" else None

    def __repr__(self) -> str:
        method = clean(self.provenance.get("method", "scores"), 60)
        if self.level == "edges":
            return f"<Scores: {method} on {self.graph}>"
        kind = {"nodes": "NodeScores", "neurons": "NeuronScores"}[self.level]
        return f"<{kind}: {method}, {len(self):,} {self.level} on {self.graph}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Scores, level=self.level, parts=self.parts), (self.graph, self.values, dict(self.provenance))


def _best_first(graph: Graph, ranking: Tensor, n: int) -> Iterator[tuple[int, int]]:
    """(writer, reader) of n edges, each the best of those into readers reached so far, starting from `logits`."""
    reached: set[int] = set()
    queue: list[tuple[float, int, int]] = []

    def reach(reader: int) -> None:
        if reader not in reached:
            reached.add(reader)
            for writer in graph.edge_mask[:, reader].nonzero().flatten().tolist():
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
