"""What is added to the metric so that gates close: a target for the sparsity, or a price for openness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, final

import torch
from torch import Tensor

from edgewise.pruning.gate_layout import GateLayout
from edgewise.pruning.gates import HardConcrete


@final
@dataclass(frozen=True)
class Draw:
    """The gates of one step: `logits` [gate], and the mask drawn from them, [writer, reader] or [example, writer, reader]."""

    logits: Tensor
    mask: Tensor


class Penalty(ABC):
    """A term of the loss that closes gates. `multipliers`, scalars, are trained to *raise* it, from what they are here."""

    multipliers: ClassVar[tuple[float, ...]] = ()

    @abstractmethod
    def value(self, draw: Draw, step: int, multipliers: Sequence[Tensor]) -> Tensor:
        """The penalty at a step, a scalar."""

    @abstractmethod
    def target(self, step: int) -> float | None:
        """The sparsity aimed at in a step, if one is."""

    def room(self, step: int) -> int | None:
        """How many of the best-ranked edges may be open in a step, None for any number."""
        return None


class Leading(Penalty, ABC):
    """What leads from one number of edges to another."""

    @classmethod
    @abstractmethod
    def between(cls, edges: int, first: int, last: int, steps: int) -> Self:
        """From `first` of all `edges` to `last` in so many steps."""


@final
@dataclass(frozen=True)
class FallingCount(Leading):
    """No price: in each step exactly so many edges are open, from `first` of all `edges` down to `last`, then these.

    The number falls by the same factor in each of the first `steps` steps.
    """

    edges: int
    first: int
    last: int
    steps: int

    @classmethod
    def between(cls, edges: int, first: int, last: int, steps: int) -> FallingCount:
        return cls(edges, first, last, steps)

    def value(self, draw: Draw, step: int, multipliers: Sequence[Tensor]) -> Tensor:
        return 0.0 * draw.logits.sum()

    def target(self, step: int) -> float:
        return 1 - self.room(step) / self.edges

    def room(self, step: int) -> int:
        share = min(1.0, (step + 1) / self.steps) if self.steps else 1.0
        return round(self.first ** (1 - share) * self.last**share)


@final
@dataclass(frozen=True, eq=False)
class Lagrangian(Leading):
    """λ₁ (s − t) + λ₂ (s − t)² with λ trained by ascent: the sparsity s is led to the target t (Bhaskar et al. 2024).

    s is 1 − Σ mask / `edges`, of the mask as drawn, writers' gates included, over all edges of the graph. t goes in a line
    from `first` to `last` over `warmup` steps and stays there.
    """

    edges: int
    first: float
    last: float
    warmup: int
    multipliers: ClassVar[tuple[float, ...]] = (0.0, 0.0)

    @classmethod
    def between(cls, edges: int, first: int, last: int, steps: int) -> Lagrangian:
        return cls(edges, 1 - first / edges, 1 - last / edges, steps)

    def value(self, draw: Draw, step: int, multipliers: Sequence[Tensor]) -> Tensor:
        gap = (1 - draw.mask.sum() / self.edges) - self.target(step)
        linear, quadratic = multipliers
        return linear * gap + quadratic * gap**2

    def target(self, step: int) -> float:
        share = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return self.first + share * (self.last - self.first)


@final
@dataclass(frozen=True, eq=False)
class Price(Penalty):
    """λ · Σ weight · openness: every gate pays for the probability that it is not 0 (Cao et al. 2021)."""

    price: float
    weights: Tensor
    gates: HardConcrete

    def value(self, draw: Draw, step: int, multipliers: Sequence[Tensor]) -> Tensor:
        openness = self.gates.openness(draw.logits)
        return self.price * (openness * self.weights.to(openness)).sum()

    def target(self, step: int) -> None:
        return None


@final
@dataclass(frozen=True, eq=False)
class ExpectedEdges(Penalty):
    """λ Σ_e p_e + ν Σ_h n/2 · tanh(2 S_h / n): every edge pays for the probability p of being kept, heads once more.

    n heads; S_h = Σ p over the edges into the q, k and v of head h (shared ones count for every head of their group) and
    out of it; MLPs and inputs pay nothing of the kind. Of a head with few edges left each costs up to λ + ν (λ + 2ν
    between two such heads), of one with many little more than λ: heads go as a whole (Li, Janson 2024, by their code).

    `edge_price` is λ, `head_price` ν.
    """

    layout: GateLayout
    edge_price: float
    head_price: float

    def value(self, draw: Draw, step: int, multipliers: Sequence[Tensor]) -> Tensor:
        kept = draw.logits.sigmoid()
        at_heads = self._at_heads(self.layout.mask(kept))
        count = max(1, len(at_heads))
        heads = count / 2 * (2 * at_heads / count).tanh().sum()
        return self.edge_price * kept.sum() + self.head_price * heads

    def target(self, step: int) -> None:
        return None

    def _at_heads(self, kept: Tensor) -> Tensor:
        """[head]: the sum of `kept` [writer, reader] over the edges of each head."""
        graph = self.layout.graph
        around = kept.sum(dim=0) @ graph.serves.to(kept) + kept.sum(dim=1)
        return torch.cat([around[graph.head_writers(layer)] for layer in range(graph.layers)])
