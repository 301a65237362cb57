"""Edge Attribution Patching: a linear approximation of replacing each edge alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgewise.attribution.base import needs_slope_at_clean
from edgewise.attribution.paths import PathMethod
from edgewise.attribution.points import AtInput, PathPoint
from edgewise.metrics import Metric
from edgewise.models.subject import Subject


@final
@dataclass(frozen=True)
class EAP(PathMethod):
    """Edge Attribution Patching: predict the effect of replacing each edge by a linear approximation at the clean run.

        score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · ∂metric/∂(input of r) at the clean run

    Two forward passes and one backward pass score all edges. The metric needs a gradient at the clean run, so `kl`,
    which is flat there, is refused.

    Syed, Rager, Conmy 2023, "Attribution Patching Outperforms Automated Circuit Discovery" (arXiv:2310.10348). Their
    plots use the opposite sign.
    """

    name: ClassVar[str] = "eap"
    summary: ClassVar[str] = "linear approximation at the clean run"
    cost: ClassVar[str] = "2 forward + 1 backward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.10348"

    def check(self, metric: Metric) -> None:
        needs_slope_at_clean(self.name, metric)

    def path(self, subject: Subject) -> list[PathPoint]:
        return [AtInput(share=1, weight=1)]
