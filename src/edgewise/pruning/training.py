"""Training: how long and how fast gates are trained, and how a gradient moves them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from edgewise.errors import InvalidValue
from edgewise.pruning.gates import Gates, HardConcrete
from edgewise.pruning.objective import Lagrangian, Leading
from edgewise.pruning.partial_adam import PartialAdamOptimizer

# However short the way to the target, gates must find their order: the least share of the steps.
LEAST_WAY = 1 / 3


class Update(ABC):
    """How a gradient moves logits and multipliers."""

    @abstractmethod
    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """What moves the parameters of `groups`, by rates that are set in every step."""

    @abstractmethod
    def prepare(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Make the gradients at `parameters` what the optimizer gets, in place; returns their norm from before."""


@final
@dataclass(frozen=True)
class Adam(Update):
    """Adam with decoupled weight `decay`: each gate has a scale of its own. `clip` bounds the norm of the whole gradient.

    `second`: Adam's β₂.
    """

    decay: float = 0.0
    clip: float = math.inf
    second: float = 0.999

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, betas=(0.9, self.second), weight_decay=self.decay)

    def prepare(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, self.clip)


@final
@dataclass(frozen=True)
class PartialAdam(Update):
    """Adam whose scales are partly each gate's own and partly one for all: m / (v^(p/2) · mean(v)^((1 − p)/2)), p = `own`.

    m and v are Adam's running means of the gradient and its square. With p = 1, as in Adam, gates that hardly matter move as
    far as those that do; with p = 0 a few gates with large gradients keep all others from moving.

    Chen, Zhou, Tang, Yang, Cao, Gu 2020, "Closing the Generalization Gap of Adaptive Gradient Methods in Training Deep Neural
    Networks" (Padam).
    """

    own: float = 0.7
    first: float = 0.9
    second: float = 0.99

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return PartialAdamOptimizer(groups, {"own": self.own, "first": self.first, "second": self.second})

    def prepare(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


@final
@dataclass(frozen=True)
class Training:
    """How gates are trained, with one schedule of learning rates for gates and multipliers.

    Logits start at Normal(`start`, `spread`), or, where their edges were scored before and there is a `lead`, so many
    times a standardised logarithm of the score above or below `start`. The rates rise over `warmup` steps, then go in a
    line to `final_rate` times themselves at the last. `approach`: the share of the steps in which a target is
    approached before it is held; `compared`: of how many steps towards the last the circuits are compared, to keep the
    best; `batch`: pairs in a step, None for the request's batch size; `samples`: how often each of them stands in it;
    `gates`: what gates do; `led_by`: what leads them to the target; `update`: what a gradient does to them.
    """

    steps: int
    rate: float
    multiplier_rate: float = 0.0
    warmup: int = 0
    final_rate: float = 1.0
    start: float = 2.0
    spread: float = 0.0
    lead: float = 0.0
    approach: float = 0.0
    compared: int = 0
    batch: int | None = None
    samples: int = 1
    gates: Gates = field(default_factory=HardConcrete)
    led_by: type[Leading] = Lagrangian
    update: Update = field(default_factory=Adam)

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or self.steps < 1:
            raise InvalidValue(f"steps={self.steps!r} must be at least 1")
        if not isinstance(self.rate, int | float) or not 0 < self.rate < math.inf:
            raise InvalidValue(f"learning_rate={self.rate!r} must be a positive number")
        if self.batch is not None and not (isinstance(self.batch, int) and self.batch >= 1):
            raise InvalidValue(f"batch={self.batch!r} must be at least 1")
        if not isinstance(self.samples, int) or self.samples < 1:
            raise InvalidValue(f"samples={self.samples!r} must be at least 1")

    def begin(self, noise: Tensor, ahead: Tensor | None) -> Tensor:
        """The logits to begin with, [gate], from standard normal `noise` or from how far `ahead` each is by its score."""
        if ahead is not None and self.lead:
            return self.start + self.lead * ahead
        return self.start + self.spread * noise

    def share(self, step: int) -> float:
        """The share of the full learning rates in a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        passed = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 1 + passed * (self.final_rate - 1)

    @property
    def approaching(self) -> int:
        """How many steps a target is approached in."""
        return round(self.approach * self.steps)

    @property
    def compared_steps(self) -> range:
        """After which steps there are circuits to compare: over the last two thirds of the steps that hold the target."""
        if not self.compared:
            return range(0)
        apart = max(1, 2 * (self.steps - self.approaching) // (3 * self.compared))
        count = min(self.compared, -(-self.steps // apart))
        return range(self.steps - 1 - (count - 1) * apart, self.steps, apart)

    def shortened(self, way: float) -> Training:
        """The training for only this share of the way to the target: so many of the steps, in the same proportions.

        The rates rise over as many steps as before.
        """
        steps = max(1, round(max(way, LEAST_WAY) * self.steps))
        return replace(self, steps=steps, warmup=min(self.warmup, steps))
