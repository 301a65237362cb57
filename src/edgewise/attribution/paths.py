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
from edgewise.attribution.memory import MemoryNeed
from edgewise.attribution.points import AtInput, PathPoint
from edgewise.attribution.reader_gradients import ReaderGradients
from edgewise.engine.gradients import GradientSink, RunHooks, live_run
from edgewise.engine.record import Recorder, record_writes
from edgewise.engine.rules import PLAIN, BackwardRule
from edgewise.engine.writes import Writes
from edgewise.models.hooks import Hook
from edgewise.models.subject import Subject
from edgewise.request import Batch

# Runs whose gradients wait for one contraction: the more, the fewer products, and the more memory.
RUNS_AT_ONCE = 6
Contraction = Callable[[Subject, Writes, ReaderGradients], Tensor]


class PathMethod(GradientMethod):
    """A method that takes gradients along a path; subclasses say which."""

    @abstractmethod
    def path(self, subject: Subject) -> Sequence[PathPoint]:
        """The points. If the clean run is one of them it comes first, and no other run has to be made for its values."""

    @property
    def rule(self) -> BackwardRule:
        """How gradients pass the model; the derivative, unless a method says otherwise."""
        return PLAIN

    @final
    def memory_need(self, subject: Subject) -> MemoryNeed:
        """One run: the writes of the clean prompts. Several: those of the replaced ones too, and gradients that wait."""
        runs = min(len(self.path(subject)), RUNS_AT_ONCE)
        return MemoryNeed(writes=1) if runs == 1 else MemoryNeed(writes=2, slopes=runs)

    @final
    def batch_scores(self, batch: Batch) -> Tensor:
        return self.along(batch, contract)

    @final
    def along(self, batch: Batch, contraction: Contraction) -> Tensor:
        """What `contraction` makes of the gradients along the path in one batch, summed over its examples."""
        points, rule = list(self.path(batch.subject)), self.rule
        slopes = ReaderGradients(batch.subject, rule)
        if isinstance(points[0], AtInput) and points[0].share == 1:
            clean, logits = clean_run(batch, slopes.taker(points.pop(0).weight), rule)
        else:
            clean, logits = record_writes(batch.subject, batch.pairs.clean, batch.pairs.positions)
        replaced, total = batch.replaced_writes(), None
        for point in points:
            edits = point.edits(batch.subject, replaced, clean)
            _run(batch, logits, slopes.taker(point.weight), edits, rule)
            if slopes.runs == RUNS_AT_ONCE:
                deltas = clean.minus(replaced, batch.subject.work_dtype)
                total, slopes = (
                    _plus(total, contraction(batch.subject, deltas, slopes)),
                    ReaderGradients(batch.subject, rule),
                )
        if slopes.runs:
            deltas = clean.minus(replaced, batch.subject.work_dtype)
            total = _plus(total, contraction(batch.subject, deltas, slopes))
        assert total is not None
        return total


def clean_run(batch: Batch, taker: GradientSink, rule: BackwardRule = PLAIN) -> tuple[Writes, Tensor]:
    """The run of the clean prompts, its gradients given to `taker`: what its writers write, and its logits."""
    subject, pairs, recorder = batch.subject, batch.pairs, Recorder(batch.subject)

    def objective(logits: Tensor) -> Tensor:
        return batch.objective(logits, logits.detach()).sum()

    with live_run(
        subject, pairs.clean, pairs.positions, objective, rule=rule, hooks=RunHooks(watching=recorder.hooks)
    ) as run:
        run.last_gradients(taker)
    return recorder.writes, run.logits


def _run(batch: Batch, clean_logits: Tensor, taker: GradientSink, edits: Sequence[Hook], rule: BackwardRule) -> None:
    """A run of the clean prompts as edited, its gradients given to `taker`."""

    def objective(logits: Tensor) -> Tensor:
        return batch.objective(logits, clean_logits).sum()

    with live_run(
        batch.subject, batch.pairs.clean, batch.pairs.positions, objective, rule=rule, hooks=RunHooks(edits)
    ) as run:
        run.last_gradients(taker)


def _plus(total: Tensor | None, term: Tensor) -> Tensor:
    return term if total is None else total + term
