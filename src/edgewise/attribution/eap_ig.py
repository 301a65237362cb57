"""EAP with integrated gradients: gradients at points between the replaced input and the clean one."""

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
    """EAP with the gradient averaged over runs whose input lies between the replaced one and the clean one.

        score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · mean over points of g_r

    g_r is ∂metric/∂(input of r). At point k of m, layer 0 gets replaced + k/m · (clean − replaced), for k = 0 … m−1.
    The result differs from `eap` where the metric bends between the two prompts. For example, a saturated softmax has
    almost no gradient at the clean run, but is steep on the way there. Unlike `eap`, this method can use `kl`, which is
    flat at the clean run.

    The path starts where the ablation puts `input`: at the embedding of the corrupted prompt, at the mean, or at zeros.
    Zeros are no prompt. There the derivative of a norm is so large that it outweighs all other points, and without
    norms the signs come out wrong. Under `zero` the points therefore lie in the middle of each step, unless `points`
    says otherwise.

    Hanna, Pezzelle, Belinkov 2024, "Have Faith in Faithfulness" (arXiv:2403.17806).
    """

    steps: int = option(5, "the number of runs between the replaced and the clean input")
    points: Literal["left", "middle", "right"] | None = option(
        None, "where in each step the run lies; none: left, as published, or middle under the ablation zero"
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
