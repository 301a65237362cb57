"""Methods that are a path: gradients at a list of points, weighted, and one contraction with the difference of the writers.

    score(w → r) = Σ over points of weight · Σ over examples, positions, d_model of (clean_w − replaced_w) · gradient_r(point)

with gradient_r the gradient of the metric at the input of reader r.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import final

from torch import Tensor

from edgewise.attribution.base import GradientMethod
from edgewise.attribution.contraction import contract
from edgewise.attribution.points import AtInput, Point
from edgewise.attribution.slopes import Slopes
from edgewise.engine.record import Gradients, Recording, record, record_gradients
from edgewise.engine.rules import PLAIN, Rule
from edgewise.engine.writes import Writes
from edgewise.models.hooks import Hook
from edgewise.models.subject import Subject
from edgewise.request import Step

# Runs whose gradients wait for one contraction: the more, the fewer products, and the more memory.
RUNS_AT_ONCE = 6
Contraction = Callable[[Subject, Writes, Slopes], Tensor]


class PathMethod(GradientMethod):
    """A method that takes gradients along a path; subclasses say which."""

    @abstractmethod
    def path(self, subject: Subject) -> Sequence[Point]:
        """The points. If the clean run is one of them it comes first, and no other run has to be made for its values."""

    @property
    def rule(self) -> Rule:
        """How gradients pass the model; the derivative, unless a method says otherwise."""
        return PLAIN

    @final
    def batch_scores(self, step: Step) -> Tensor:
        return self.along(step, contract)

    @final
    def along(self, step: Step, contraction: Contraction) -> Tensor:
        """What `contraction` makes of the gradients along the path in one batch, summed over its examples."""
        points, rule = list(self.path(step.subject)), self.rule
        slopes = Slopes(step.subject, rule)
        if isinstance(points[0], AtInput) and points[0].share == 1:
            clean, gradients = _run(step, None, [], rule)
            slopes.add(clean, gradients, points.pop(0).weight)
        else:
            clean = record(step.subject, step.batch.clean, step.batch.positions)
        deltas = clean.writes.minus(step.replacement.writes, step.subject.work_dtype)
        total = None
        for point in points:
            slopes.add(*_run(step, clean, point.edits(step, clean), rule), point.weight)
            if slopes.runs == RUNS_AT_ONCE:
                total, slopes = _plus(total, contraction(step.subject, deltas, slopes)), Slopes(step.subject, rule)
        if slopes.runs:
            total = _plus(total, contraction(step.subject, deltas, slopes))
        assert total is not None
        return total


def _run(step: Step, clean: Recording | None, edits: Sequence[Hook], rule: Rule) -> tuple[Recording, Gradients]:
    """A run of the clean prompts and the gradients of the metric at it; without `clean` it is the clean run itself."""

    def objective(logits: Tensor) -> Tensor:
        return step.objective(logits, logits.detach() if clean is None else clean.logits).sum()

    return record_gradients(step.subject, step.batch.clean, step.batch.positions, objective, edits=edits, rule=rule)


def _plus(total: Tensor | None, term: Tensor) -> Tensor:
    return term if total is None else total + term
