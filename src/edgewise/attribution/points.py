"""Points: places where a run is held while its gradients are taken. A path is a list of them with weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from edgewise.engine.writes import Writes
from edgewise.errors import InvalidValue, UnknownName
from edgewise.models.hooks import Hook, OnInput
from edgewise.models.subject import Subject


@dataclass(frozen=True)
class PathPoint(ABC):
    """A run of the clean prompts with something held at clean + (1 − share) · (replaced − clean); `weight` on the path."""

    share: float
    weight: float

    @abstractmethod
    def edits(self, subject: Subject, replaced: Writes, clean: Writes) -> list[Hook]:
        """What has to be changed in the run of the clean prompts."""

    def between(self, replaced: Tensor, clean: Tensor) -> Tensor:
        """The held value, a leaf of its own for autograd."""
        replaced = replaced.to(clean.device)
        return (replaced + self.share * (clean - replaced)).detach().requires_grad_()


@final
class AtInput(PathPoint):
    """What enters layer 0 is held; everything after it follows."""

    def edits(self, subject: Subject, replaced: Writes, clean: Writes) -> list[Hook]:
        if self.share == 1:
            return []
        held = self.between(replaced.stream, clean.stream)
        return [OnInput(subject.blocks[0].module, lambda _: held)]


@final
@dataclass(frozen=True)
class AtHeads(PathPoint):
    """The outputs of all heads of `layer` are held, everything before them is clean, everything after follows."""

    layer: int

    def edits(self, subject: Subject, replaced: Writes, clean: Writes) -> list[Hook]:
        held = self.between(replaced.raw[self.layer], clean.raw[self.layer]).flatten(-2)
        return [OnInput(subject.blocks[self.layer].output, lambda _: held)]


@final
@dataclass(frozen=True)
class AtMLP(PathPoint):
    """What the MLP of `layer` writes is held, everything before it is clean, everything after follows."""

    layer: int

    def edits(self, subject: Subject, replaced: Writes, clean: Writes) -> list[Hook]:
        block = subject.blocks[self.layer]
        held = self.between(replaced.mlp[self.layer], clean.mlp[self.layer])
        return block.mlp_written(lambda _: block.divided(held))


# Where the points of `steps` equal steps lie: at their left ends (the replaced value among them, the clean one not), at
# their right ends (the other way round), or in their middles.
PLACEMENTS = {"left": 0.0, "middle": 0.5, "right": 1.0}


def shares(steps: int, placement: str) -> Sequence[float]:
    """How far along the way from replaced (0) to clean (1) each point lies.

    >>> shares(4, "left"), shares(2, "middle"), shares(1, "right")
    ([0.0, 0.25, 0.5, 0.75], [0.25, 0.75], [1.0])
    """
    check_steps(steps)
    if placement not in PLACEMENTS:
        raise UnknownName.of("placement of points", placement, PLACEMENTS)
    return [(k + PLACEMENTS[placement]) / steps for k in range(steps)]


def check_steps(steps: int) -> None:
    """InvalidValue unless `steps` is a whole number from 1."""
    if type(steps) is not int or steps < 1:
        raise InvalidValue(f"steps={steps!r} must be a whole number of at least 1")
