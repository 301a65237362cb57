"""Relevance patching: EAP with the backward rules of layer-wise relevance propagation.

    score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · c_r

where c_r, in the place of the gradient at the clean run, is propagated with three changes: a norm's scale is a constant;
an activation's slope is f(x) / x; each factor of a gated product gets half of the gradient. It differs from EAP most at MLPs
and norms, whose local slope says little about a large step. Same cost as EAP, same forward values.

Rezaei Jafari, Eberle, Khakzar, Nanda 2025, "RelP" (arXiv:2508.21258). Published runs take the gradient at the corrupted run;
here it is the clean run, as for EAP. Their rule that stops all gradient at the attention pattern is off, there as here: under
it no edge into a query or key would have a score. Half of the gradient at each of attention's two products, a quarter for
queries and keys (AttnLRP, Achtibat et al. 2024, arXiv:2402.05602), is the rule "attention".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from edgewise.attribution.base import needs_slope_at_clean
from edgewise.attribution.paths import PathMethod
from edgewise.attribution.points import AtInput, PathPoint
from edgewise.engine.rules import BackwardRule
from edgewise.metrics import Metric
from edgewise.models.subject import Subject
from edgewise.options import option


@final
@dataclass(frozen=True)
class RelP(PathMethod):
    """EAP with gradients propagated by `rules`: of "norms", "activations", "products", "attention" and "softmax".

    A list, or names with commas between them. Without any it is EAP. A model with a module that a rule does not know is
    refused by that module's class name.
    """

    rules: Sequence[str] | str = option(
        ("norms", "activations", "products"),
        "what gradients are propagated by: norms, activations, products, attention, softmax",
    )
    name: ClassVar[str] = "relp"
    summary: ClassVar[str] = "EAP with the backward rules of relevance propagation"
    cost: ClassVar[str] = "2 forward + 1 backward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2508.21258"

    def __post_init__(self) -> None:
        BackwardRule.of(self._names)

    @property
    def rule(self) -> BackwardRule:
        return BackwardRule.of(self._names)

    @property
    def _names(self) -> list[str]:
        names = self.rules.split(",") if isinstance(self.rules, str) else self.rules
        return [name.strip() for name in names if name]

    def check(self, metric: Metric) -> None:
        needs_slope_at_clean(self.name, metric)

    def path(self, subject: Subject) -> list[PathPoint]:
        return [AtInput(share=1, weight=1)]
