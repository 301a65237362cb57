"""EAP with integrated gradients along the input: gradients at points between the replaced prompt and the clean one.

    score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · mean over points of ∂metric/∂(input of r)

Point k of m is the run whose layer 0 gets replaced + k/m · (clean − replaced), k = 0 … m−1. It differs from EAP where the
metric bends between the two prompts: a saturated softmax, whose gradient at the clean run is nearly nothing, is also seen
from its steep side. Unlike EAP it can use a metric such as KL, which is flat at the clean run.

Hanna, Pezzelle, Belinkov 2024, "Have Faith in Faithfulness" (arXiv:2403.17806).

The path starts from what the ablation puts in the place of `input`: the corrupted prompt's embedding, the mean one, or zeros.
(In zeros the norms have a singular point: with `zero` take `mask-ig`, or points in the middle of the steps.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgewise.attribution.base import needs_slope, needs_slope_at_clean
from edgewise.attribution.paths import PathMethod
from edgewise.attribution.points import AtInput, Point, shares
from edgewise.metrics import Metric
from edgewise.models.subject import Subject


@final
@dataclass(frozen=True)
class EAPIG(PathMethod):
    """EAP averaged over `steps` runs whose input lies between replaced and clean, at the `points` of each step.

    `points` is "left" (as published), "middle" or "right"; with one step at the right end it is EAP.
    """

    steps: int = 5
    points: str = "left"
    name: ClassVar[str] = "eap-ig"
    summary: ClassVar[str] = "gradients averaged along the input, from replaced to clean"
    cost: ClassVar[str] = "2 forward + steps × (forward + backward)"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.17806"

    def __post_init__(self) -> None:
        shares(self.steps, self.points)

    def check(self, metric: Metric) -> None:
        if shares(self.steps, self.points) == [1.0]:
            needs_slope_at_clean(self.name, metric)
        needs_slope(self.name, metric)

    def path(self, subject: Subject) -> list[Point]:
        return [AtInput(share, 1 / self.steps) for share in reversed(shares(self.steps, self.points))]
