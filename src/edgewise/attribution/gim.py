"""Gradient interaction modifications: EAP with a backward pass that allows for parts that act together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgewise.attribution.base import needs_slope_at_clean
from edgewise.attribution.paths import PathMethod
from edgewise.attribution.points import AtInput, PathPoint
from edgewise.engine.rules import BackwardRule, FrozenNorms, HalvedAttention, HalvedProducts, SoftSoftmax
from edgewise.errors import InvalidValue
from edgewise.metrics import Metric
from edgewise.models.subject import Subject
from edgewise.options import option


@final
@dataclass(frozen=True)
class GIM(PathMethod):
    """EAP with a modified gradient that allows for parts of the model that act together.

        score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · c_r

    c_r takes the place of the gradient at the clean run. Four changes shape it. The backward pass goes through the
    softmax of attention as if it had the given temperature, so that two keys that can stand in for each other do not
    hide each other. The scale of a norm is a constant. The factors of attention's products share the gradient: a
    quarter each to queries and keys, half to values. The factors of a gated MLP get half each. Activations keep their
    derivative, unlike in `relp`.

    Edin et al. 2025, "GIM: Improved Interpretability for Large Language Models" (arXiv:2505.17630), with the factors of
    its code.
    """

    temperature: float = option(2.0, "the softmax temperature at which gradients pass attention")
    name: ClassVar[str] = "gim"
    summary: ClassVar[str] = "EAP with a backward pass that allows for interactions"
    cost: ClassVar[str] = "2 forward + 1 backward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.17630"

    def __post_init__(self) -> None:
        if not isinstance(self.temperature, int | float) or not self.temperature > 0:
            raise InvalidValue(f"temperature={self.temperature!r} must be above 0")

    @property
    def rule(self) -> BackwardRule:
        return BackwardRule((FrozenNorms(), HalvedProducts(), HalvedAttention(), SoftSoftmax(self.temperature)))

    def check(self, metric: Metric) -> None:
        needs_slope_at_clean(self.name, metric)

    def path(self, subject: Subject) -> list[PathPoint]:
        return [AtInput(share=1, weight=1)]
