"""Methods that are a path: gradients at a list of points, weighted, and one contraction with the difference of the writers.

    score(w → r) = Σ over points of weight · Σ over examples, positions, d_model of (clean_w − replaced_w) · gradient_r(point)

with gradient_r the gradient of the metric at the input of reader r.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from edgewise.attribution.base import GradientMethod
from edgewise.attribution.contraction import contract
from edgewise.attribution.fitting import fitting_parts
from edgewise.attribution.neuron_scores import contract_neurons
from edgewise.attribution.points import AtInput, PathPoint
from edgewise.attribution.reader_gradients import ReaderGradients
from edgewise.contract import Found
from edgewise.engine.gradients import GradientSink, RunHooks, live_run
from edgewise.engine.record import Recorder, record_writes
from edgewise.engine.rules import PLAIN, BackwardRule
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writes import WriteChange, Writes
from edgewise.models.hooks import Hook
from edgewise.models.subject import Subject
from edgewise.provenance import provenance
from edgewise.ranks import current
from edgewise.request import Batch, Request, Wanted
from edgewise.scores import Scores

Contraction = Callable[[Subject, WriteChange, ReaderGradients], Tensor]


class PathMethod(GradientMethod):
    """A method that takes gradients along a path; subclasses say which."""

    @abstractmethod
    def path(self, subject: Subject) -> Sequence[PathPoint]:
        """The points. If the clean run is one of them it comes first, and no other run has to be made for its values."""

    @property
    def rule(self) -> BackwardRule:
        """How gradients pass the model; the derivative, unless a method says otherwise."""
        return PLAIN

    def refuse(self, wanted: Wanted) -> None:
        super().refuse(replace(wanted, level="edges"))

    def run(self, request: Request) -> Found:
        if request.wanted.level == "edges":
            return super().run(request)
        chosen, started = self.resolved(request), time.perf_counter()
        neurons = chosen.neuron_scores(request)
        facts, graph = provenance(request, chosen, time.perf_counter() - started), request.subject.graph
        parts = Scores(graph, neurons, facts, level="neurons")
        return Found(Scores(graph, neurons.sum(dim=1), facts, level="nodes", parts=parts))

    @final
    def neuron_scores(self, request: Request) -> Tensor:
        """Mean scores over the examples, float64 [writer, d_model]; positive = the neuron helps. Cost: that of edges."""
        self.check(request.metric)
        resolved, subject = self.resolved(request), request.subject
        mine = request.share()
        parts = fitting_parts(mine, lambda step: resolved.along(step, contract_neurons))
        total = torch.zeros(len(subject.graph.writers), subject.d_model, dtype=torch.float64)
        for part in request.track(parts, mine.batches, f"scoring neurons ({self.name})"):
            total += part.double().cpu()
        return current().sum(total) / len(request.pairs)

    @final
    def batch_scores(self, batch: Batch) -> Tensor:
        return self.along(batch, contract)

    @final
    def along(self, batch: Batch, contraction: Contraction) -> Tensor:
        """What `contraction` makes of the gradients along the path in one batch, summed over its examples."""
        points, rule, at_once = list(self.path(batch.subject)), self.rule, tiling_for(batch.subject.device).runs
        slopes = ReaderGradients(batch.subject, rule)
        if isinstance(points[0], AtInput) and points[0].share == 1:
            clean, logits = clean_run(batch, slopes.taker(points.pop(0).weight), rule)
        else:
            clean, logits = record_writes(batch.subject, batch.pairs.clean, batch.pairs.positions)
        replaced, total = batch.replaced_writes(), None
        change = WriteChange(clean, replaced, batch.subject.work_dtype)
        for point in points:
            edits = point.edits(batch.subject, replaced, clean)
            _run(batch, logits, slopes.taker(point.weight), edits, rule)
            if slopes.runs == at_once:
                total = _plus(total, contraction(batch.subject, change, slopes))
                slopes = ReaderGradients(batch.subject, rule)
        if slopes.runs:
            total = _plus(total, contraction(batch.subject, change, slopes))
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
