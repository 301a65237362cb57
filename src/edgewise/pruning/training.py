"""Training: how long and how fast gates are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import final

from edgewise.errors import InvalidValue
from edgewise.pruning.gates import Gates, HardConcrete

# Multipliers must find their size and gates their order however short the way is: the least share of the steps.
LEAST_WAY = 1 / 3
# When gates begin to settle, so many times the wanted edges may still be open.
SPARE = 3.0


@final
@dataclass(frozen=True)
class Training:
    """How gates are trained: Adam with decoupled weight `decay`, one schedule of learning rates for gates and multipliers.

    Logits start at Normal(`start`, `spread`), and where their edges were scored before, `lead` times a standardised logarithm
    of the score above or below. The rates rise over `warmup` steps, then go in a line to `final_rate` times
    themselves at the last. `clip` bounds the norm of the whole gradient. `approach`: the share of the steps in which a target
    is approached before it is held; `settle`: the last share of them, in which ever fewer edges may open; `exchanges`:
    how often, after training, edges may be exchanged for better ones; `batch`: pairs in a step, None for the request's batch
    size; `samples`: how often each of them stands in it; `second`: Adam's β₂.
    """

    steps: int
    rate: float
    multiplier_rate: float = 0.0
    warmup: int = 0
    final_rate: float = 1.0
    decay: float = 0.0
    clip: float = math.inf
    start: float = 2.0
    spread: float = 0.0
    lead: float = 0.0
    approach: float = 0.0
    settle: float = 0.0
    exchanges: int = 0
    batch: int | None = None
    samples: int = 1
    second: float = 0.999
    gates: Gates = field(default_factory=HardConcrete)

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or self.steps < 1:
            raise InvalidValue(f"steps={self.steps!r} must be at least 1")
        if not isinstance(self.rate, int | float) or not 0 < self.rate < math.inf:
            raise InvalidValue(f"learning_rate={self.rate!r} must be a positive number")
        if self.batch is not None and not (isinstance(self.batch, int) and self.batch >= 1):
            raise InvalidValue(f"batch={self.batch!r} must be at least 1")
        if not isinstance(self.samples, int) or self.samples < 1:
            raise InvalidValue(f"samples={self.samples!r} must be at least 1")

    def share(self, step: int) -> float:
        """The share of the full learning rates in a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        passed = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 1 + passed * (self.final_rate - 1)

    def room(self, step: int, wanted: int) -> int | None:
        """How many of the best-ranked edges may be open in a step that settles, None for one that does not.

        From SPARE times `wanted` down to `wanted`, ever more slowly.
        """
        first = self.steps - round(self.settle * self.steps)
        if step < first:
            return None
        left = 1 - (step + 1 - first) / (self.steps - first)
        return round(wanted * (1 + (SPARE - 1) * left**2))

    @property
    def approaching(self) -> int:
        """How many steps a target is approached in."""
        return round(self.approach * self.steps)

    def shortened(self, way: float) -> Training:
        """The training for only this share of the way to the target: so many of the steps, in the same proportions.

        The rates rise over as many steps as before.
        """
        steps = max(1, round(max(way, LEAST_WAY) * self.steps))
        return replace(self, steps=steps, warmup=min(self.warmup, steps))
