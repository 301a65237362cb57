"""What is added to the metric so that gates close: a target for the sparsity, or a price for openness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from edgewise.pruning.gates import HardConcrete


@dataclass(frozen=True)
class Draw:
    """The gates of one step: `logits` [gate], and the `mask` [writer, reader] drawn from them."""

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


@final
@dataclass(frozen=True, eq=False)
class Lagrangian(Penalty):
    """λ₁ (s − t) + λ₂ (s − t)² with λ trained by ascent: the sparsity s is led to the target t (Bhaskar et al. 2024).

    s is 1 − Σ mask / `edges`, of the mask as drawn, writers' gates included, over all edges of the graph. t goes in a line
    from `first` to `last` over `warmup` steps and stays there.
    """

    edges: int
    first: float
    last: float
    warmup: int
    multipliers: ClassVar[tuple[float, ...]] = (0.0, 0.0)

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
