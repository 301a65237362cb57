"""Hard-concrete gates: numbers in [0, 1] that are exactly 0 or 1 most of the time and still have a gradient.

    s = sigmoid((ln u − ln(1 − u) + logit) / T),   z = clip(s · (right − left) + left, 0, 1),   u uniform on (0, 1)

Louizos, Welling, Kingma 2018, "Learning Sparse Neural Networks through L0 Regularization".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class HardConcrete:
    """The distribution: stretched from `left` to `right`, at a temperature; `edge` keeps uniform noise off 0 and 1.

    >>> HardConcrete().closed(torch.tensor([0.0, 2.0]))
    tensor([0.1682, 0.0266])
    """

    left: float = -0.1
    right: float = 1.1
    temperature: float = 2 / 3
    edge: float = 1e-6

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """One sample of every gate, [gate], with a gradient in `logits` where it is strictly between 0 and 1.

        The noise is drawn on the CPU, so that a seed means the same on every device.
        """
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


def soft_mask(logits: Tensor, temperature: float = HardConcrete.temperature) -> Tensor:
    """The soft mask Edge Pruning's evaluation ranks by: sigmoid(0.8 · logit / T) (Bhaskar et al. 2024)."""
    return (0.8 * logits / temperature).sigmoid()
