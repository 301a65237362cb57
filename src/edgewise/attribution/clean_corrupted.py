"""EAP from both ends: gradients at the clean run and at the run of the replaced input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgewise.attribution.base import needs_slope
from edgewise.attribution.paths import PathMethod
from edgewise.attribution.points import AtInput, PathPoint
from edgewise.metrics import Metric
from edgewise.models.subject import Subject


@final
@dataclass(frozen=True)
class CleanCorrupted(PathMethod):
    """EAP with the mean of two gradients: one at the clean run, one at the run with the replaced input.

        score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · ½ (g_r(clean) + g_r(replaced))

    g_r is ∂metric/∂(input of r). In the second run, layer 0 gets the replaced input. This is the trapezoid rule with
    one step on the path of `eap-ig`: both ends are seen, at two backward passes instead of five.

    Hanna, Pezzelle, Belinkov 2024, "Have Faith in Faithfulness" (arXiv:2403.17806), and its library.
    """

    name: ClassVar[str] = "clean-corrupted"
    summary: ClassVar[str] = "mean of the gradients at the clean and the replaced input"
    cost: ClassVar[str] = "3 forward + 2 backward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.17806"

    def check(self, metric: Metric) -> None:
        needs_slope(self.name, metric)

    def path(self, subject: Subject) -> list[PathPoint]:
        return [AtInput(share=1, weight=0.5), AtInput(share=0, weight=0.5)]
