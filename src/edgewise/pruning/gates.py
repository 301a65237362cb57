"""Gates: numbers in [0, 1] that are exactly 0 or 1 most of the time and still have a gradient.

Hard concrete (Louizos, Welling, Kingma 2018, "Learning Sparse Neural Networks through L0 Regularization"):

    s = sigmoid((ln u − ln(1 − u) + logit) / T),   z = clip(s · (right − left) + left, 0, 1),   u uniform on (0, 1)

Uniform (Li, Janson 2024, "Optimal ablation for interpretability", uniform gradient sampling), with p = sigmoid(logit):

    z = clip(1/2 + (p − u) / w, 0, 1),   w = p (1 − p),   u uniform on (0, 1), drawn for each example

so that z is 1 with probability p − w/2, 0 with 1 − p − w/2, and uniform between with w.

Straight-through (Bengio, Léonard, Courville 2013, "Estimating or Propagating Gradients Through Stochastic Neurons"), for the
best so many as in Ramanujan et al. 2020, "What's Hidden in a Randomly Weighted Neural Network?":

    z = 1 for the gates of the best so many edges, 0 for all others,   dz / dlogit taken to be 1
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.pruning.gate_layout import GateLayout

# A window is never narrower: what is divided by it stays finite.
NARROWEST = 1e-30


class Gates(ABC):
    """What gates do to the edges of a layout in a step of training, and how edges are ranked by their logits."""

    @abstractmethod
    def mask(
        self, layout: GateLayout, logits: Tensor, room: int | None, generator: torch.Generator, examples: int
    ) -> Tensor:
        """The mask [writer, reader] of a step, or one for each of its `examples`, with a gradient in `logits` [gate].

        `room`: how many edges are to be open, None where nothing says so. Gates that are drawn open by chance alone.
        """

    @abstractmethod
    def learning(self, layout: GateLayout, mask: Tensor) -> Tensor:
        """bool [writer, reader]: the edges whose gates have a gradient under a mask."""

    @abstractmethod
    def ranking(self, layout: GateLayout, logits: Tensor) -> Tensor:
        """How far each edge is open, float64 [writer, reader]; −inf where no gate can open it."""


class DrawnGates(Gates, ABC):
    """Gates drawn anew in every step; closed ones have no gradient."""

    @final
    def mask(
        self, layout: GateLayout, logits: Tensor, room: int | None, generator: torch.Generator, examples: int
    ) -> Tensor:
        return layout.mask(self.draw(logits, generator, examples))

    @final
    def learning(self, layout: GateLayout, mask: Tensor) -> Tensor:
        return (mask != 0).flatten(0, -3).any(dim=0) if mask.ndim > 2 else mask != 0

    @final
    def ranking(self, layout: GateLayout, logits: Tensor) -> Tensor:
        return layout.ranking(logits)

    @abstractmethod
    def draw(self, logits: Tensor, generator: torch.Generator, examples: int = 1) -> Tensor:
        """One sample of every gate, [gate], for all examples of a step, or one for each of them, [example, gate].

        The noise is drawn on the CPU, so that a seed means the same on every device.
        """


@final
@dataclass(frozen=True)
class Uniform(DrawnGates):
    """Gates drawn for every example, whose gradient comes from the samples strictly between 0 and 1 alone.

    The slope of the loss at a uniform sample is an unbiased estimate of loss(1) − loss(0) = ∫₀¹ ∂loss/∂z dz, and so of
    ∂E[loss]/∂p for a window that is held. The gradient in the logit is p (1 − p) times the mean slope of those samples of the
    gate among the examples; it is 0 if there are none, which has probability (1 − w) to the power of the number of examples.
    """

    def draw(self, logits: Tensor, generator: torch.Generator, examples: int = 1) -> Tensor:
        noise = torch.rand(examples, *logits.shape, generator=generator).to(logits.device, logits.dtype)
        p = logits.sigmoid()
        open_ = p.detach()
        drawn = (0.5 + (open_ - noise) / (open_ * (1 - open_)).clamp(min=NARROWEST)).clamp(0, 1)
        between = (drawn > 0) & (drawn < 1)
        # A loss that is a mean over the examples divides by all of them where the mean is over those between.
        weight = between * (examples / between.sum(dim=0).clamp(min=1))
        return drawn + weight * (p - open_)


@final
@dataclass(frozen=True)
class HardConcrete(DrawnGates):
    """The distribution: stretched from `left` to `right`, at a temperature; `edge` keeps uniform noise off 0 and 1.

    >>> HardConcrete().closed(torch.tensor([0.0, 2.0]))
    tensor([0.1682, 0.0266])
    """

    left: float = -0.1
    right: float = 1.1
    temperature: float = 2 / 3
    edge: float = 1e-6

    def draw(self, logits: Tensor, generator: torch.Generator, examples: int = 1) -> Tensor:
        """One sample of every gate, [gate], with a gradient in `logits` where it is strictly between 0 and 1."""
        noise = torch.rand(logits.shape, generator=generator).clamp(self.edge, 1 - self.edge)
        logistic = (noise.log() - (-noise).log1p()).to(logits.device, logits.dtype)
        return self._stretched(((logistic + logits) / self.temperature).sigmoid())

    def settled(self, logits: Tensor) -> Tensor:
        """The gates without noise, as Louizos et al. use them after training: clip of the stretched sigmoid(logit)."""
        return self._stretched(logits.sigmoid())

    def closed(self, logits: Tensor) -> Tensor:
        """The probability that a gate is exactly 0: sigmoid(T · ln(−left / right) − logit)."""
        return (self._shift - logits).sigmoid()

    def openness(self, logits: Tensor) -> Tensor:
        """The probability that a gate is not 0, the expected L0 norm: 1 − closed."""
        return (logits - self._shift).sigmoid()

    def touched(self, logits: Tensor) -> Tensor:
        """The probability that a gate is less than 1: only then can it have a gradient or be closed."""
        top = self.temperature * math.log((1 - self.left) / (self.right - 1))
        return (top - logits).sigmoid()

    def logit(self, value: float) -> float:
        """The logit at which the settled gate has this value, strictly between 0 and 1."""
        share = (value - self.left) / (self.right - self.left)
        return math.log(share / (1 - share))

    @property
    def _shift(self) -> float:
        return self.temperature * math.log(-self.left / self.right)

    def _stretched(self, s: Tensor) -> Tensor:
        return (s * (self.right - self.left) + self.left).clamp(0, 1)


@final
@dataclass(frozen=True)
class StraightThrough(Gates):
    """Gates that are 1 for the best edges and 0 for the others, and all learn.

    A closed gate has the gradient of the loss in the mask at its edge, so that an edge that is missed comes back. Every step
    sees a circuit of the kind that is wanted, without noise.
    """

    def mask(
        self, layout: GateLayout, logits: Tensor, room: int | None, generator: torch.Generator, examples: int
    ) -> Tensor:
        degrees = layout.degrees(logits)
        return layout.best(degrees.detach(), room).to(degrees) + (degrees - degrees.detach())

    def learning(self, layout: GateLayout, mask: Tensor) -> Tensor:
        return layout.candidates

    def ranking(self, layout: GateLayout, logits: Tensor) -> Tensor:
        return layout.by_degree(layout.degrees(logits.detach()))


def soft_mask(logits: Tensor, temperature: float = HardConcrete.temperature) -> Tensor:
    """The soft mask Edge Pruning's evaluation ranks by: sigmoid(0.8 · logit / T) (Bhaskar et al. 2024)."""
    return (0.8 * logits / temperature).sigmoid()
