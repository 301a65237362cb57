"""Gradient interaction modifications: EAP with a backward pass that allows for parts that act together.

    score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · c_r

where c_r, in the place of the gradient at the clean run, is propagated with four changes: the softmax of attention is gone
back through as if at `temperature` 2, so that of two keys that stand in for each other neither hides the other; a norm's
scale is a constant; the gradient is shared evenly between the factors of attention's products (a quarter to queries and
keys, half to values) and of gated MLPs (half to each). Activations keep their derivative, unlike in `relp`.

Edin et al. 2025, "GIM: Improved Interpretability for Large Language Models" (arXiv:2505.17630), factors as in its code.
"""

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
    """EAP whose gradients pass attention at a higher softmax temperature and are shared between factors of products."""

    temperature: float = option(2.0, "the temperature of the softmax that gradients pass attention at")
    name: ClassVar[str] = "gim"
    summary: ClassVar[str] = "EAP with a backward pass that allows for interactions"
    cost: ClassVar[str] = "2 forward + 1 backward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.17630"

    def __post_init__(self) -> None:
        if not isinstance(self.temperature, int | float) or not self.temperature > 0:
            raise InvalidValue(f"a softmax temperature of {self.temperature!r}: it must be above 0")

    @property
    def rule(self) -> BackwardRule:
        return BackwardRule((FrozenNorms(), HalvedProducts(), HalvedAttention(), SoftSoftmax(self.temperature)))

    def check(self, metric: Metric) -> None:
        needs_slope_at_clean(self.name, metric)

    def path(self, subject: Subject) -> list[PathPoint]:
        return [AtInput(share=1, weight=1)]
