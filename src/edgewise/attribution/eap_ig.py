"""EAP with integrated gradients along the input: gradients at points between the replaced prompt and the clean one.

    score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · mean over points of ∂metric/∂(input of r)

PathPoint k of m is the run whose layer 0 gets replaced + k/m · (clean − replaced), k = 0 … m−1. It differs from EAP where the
metric bends between the two prompts: a saturated softmax, whose gradient at the clean run is nearly nothing, is also seen
from its steep side. Unlike EAP it can use a metric such as KL, which is flat at the clean run.

Hanna, Pezzelle, Belinkov 2024, "Have Faith in Faithfulness" (arXiv:2403.17806).

The path starts from what the ablation puts in the place of `input`: the corrupted prompt's embedding, the mean one, or zeros.
Zeros are no prompt: at the point of the path that lies there, the derivative of a norm is one over the root of its ε and
outweighs all other points, and without norms signs come out wrong (on `reverse` those of 5 of its 8 edges). With `zero` the
points therefore lie in the middle of the steps, unless they are asked for elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, final

from edgewise.ablations import Zero
from edgewise.attribution.base import needs_slope, needs_slope_at_clean
from edgewise.attribution.paths import PathMethod
from edgewise.attribution.points import AtInput, PathPoint, shares
from edgewise.metrics import Metric
from edgewise.models.subject import Subject
from edgewise.options import option
from edgewise.request import Request


@final
@dataclass(frozen=True)
class EAPIG(PathMethod):
    """EAP averaged over `steps` runs whose input lies between replaced and clean, at the `points` of each step.

    `points` is "left", "middle" or "right"; with one step at the right end it is EAP. Left open they are left, as published,
    but in the middle under the ablation `zero`, where the first left one would be nothing but zeros.
    """

    steps: int = option(5, "how many runs between the replaced and the clean input the gradient is averaged over")
    points: Literal["left", "middle", "right"] | None = option(
        None, "where in each step the run lies; none: left, as published, but in the middle under the ablation zero"
    )
    name: ClassVar[str] = "eap-ig"
    summary: ClassVar[str] = "gradients averaged along the input, from replaced to clean"
    cost: ClassVar[str] = "2 forward + steps × (forward + backward)"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.17806"

    def __post_init__(self) -> None:
        self._shares()

    def resolved(self, request: Request) -> Self:
        if self.points is not None:
            return self
        return replace(self, points="middle" if isinstance(request.ablation, Zero) else "left")

    def check(self, metric: Metric) -> None:
        if self._shares() == [1.0]:
            needs_slope_at_clean(f"{self.name} with its one point there", metric)
        needs_slope(self.name, metric)

    def path(self, subject: Subject) -> list[PathPoint]:
        return [AtInput(share, 1 / self.steps) for share in reversed(self._shares())]

    def _shares(self) -> Sequence[float]:
        return shares(self.steps, self.points or "left")
