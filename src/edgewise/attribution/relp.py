"""Relevance patching: EAP with the backward rules of layer-wise relevance propagation."""

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
    """EAP with gradients that follow the rules of layer-wise relevance propagation instead of the derivative.

        score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · c_r

    c_r takes the place of the gradient at the clean run. By default three rules shape it: the scale of a norm is a
    constant ("norms"); the slope of an activation is f(x) / x ("activations"); each factor of a gated product gets half
    of the gradient ("products"). It differs from `eap` most at MLPs and norms, whose local slope says little about a
    large step. The rule "attention" gives half of the gradient to each of attention's two products, a quarter to
    queries and keys (AttnLRP, arXiv:2402.05602). Without any rule this is `eap`. A model with a module that a rule does
    not know is refused by the name of that module's class.

    Rezaei Jafari, Eberle, Khakzar, Nanda 2025, "RelP" (arXiv:2508.21258). Published runs take the gradient at the
    corrupted run; here it is the clean run, as in `eap`. Their rule that stops all gradient at the attention pattern is
    off in both: under it no edge into a query or key would have a score.
    """

    rules: Sequence[str] | str = option(
        ("norms", "activations", "products"),
        "the rules that gradients follow: norms, activations, products, attention, softmax",
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
