"""The contract of an attribution method: a model and pairs in, one score for each edge out."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import ClassVar, Self, final

import torch
from torch import Tensor

from edgewise.attribution.fitting import fitting_parts
from edgewise.attribution.memory import memory_size
from edgewise.contract import Found, Method
from edgewise.errors import InvalidValue, NothingScored, NumericalError
from edgewise.metrics import Metric
from edgewise.provenance import provenance
from edgewise.ranks import current
from edgewise.request import Batch, Request, Wanted
from edgewise.scores import Scores


class ScoringMethod(Method):
    """A method that gives every edge a score."""

    additive: ClassVar[bool] = True

    def refuse(self, wanted: Wanted) -> None:
        if wanted.goal == "sweep":
            raise InvalidValue(f"{self.name} scores every edge at once: there is nothing to sweep; use attribute")
        if wanted.level != "edges":
            raise scores_no_nodes(self.name)
        if wanted.memory_limit is not None:
            memory_size(wanted.memory_limit)

    def run(self, request: Request) -> Found:
        chosen, started = self.resolved(request), time.perf_counter()
        values = chosen.scores(request)
        facts = provenance(request, chosen, time.perf_counter() - started)
        return Found(Scores(request.subject.graph, values, facts))

    def resolved(self, request: Request) -> Self:
        """The method with every option decided that it leaves open until it knows the request; mostly itself."""
        return self

    @abstractmethod
    def scores(self, request: Request) -> Tensor:
        """Mean score of each edge over the examples, [writer, reader]; positive = the edge helps."""


class GradientMethod(ScoringMethod):
    """A method that scores a batch from gradients; subclasses say where those are taken."""

    @abstractmethod
    def check(self, metric: Metric) -> None:
        """Refuse a metric whose gradient is no use where this method takes it."""

    @abstractmethod
    def batch_scores(self, batch: Batch) -> Tensor:
        """Scores [writer, reader] of one batch, summed over its examples."""

    @final
    def scores(self, request: Request) -> Tensor:
        self.check(request.metric)
        total = torch.zeros(request.subject.graph.edge_mask.shape, dtype=torch.float64)
        mine = request.share()
        parts = fitting_parts(mine, self.resolved(request).batch_scores)
        for part in request.track(parts, mine.batches, f"scoring edges ({self.name})"):
            total += part.double().cpu()
        total = current().sum(total)
        refuse_zeros(total * request.subject.graph.edge_mask, request.metric)
        return total / len(request.pairs)


def scores_no_nodes(name: str) -> InvalidValue:
    """The refusal of nodes and neurons by a method that scores none."""
    return InvalidValue(f"{name} scores no nodes; use a method made of gradients, such as eap-ig")


def needs_slope_at_clean(name: str, metric: Metric) -> None:
    """NumericalError for a metric whose gradient is zero at the clean run, the only place where the method `name` looks."""
    if metric.flat_at_clean:
        raise NumericalError(
            f"{name} cannot use {metric.name}, whose gradient is zero at the clean run; "
            "use the method eap-ig or exact, or the metric logit_diff, prob_diff or nll"
        )
    needs_slope(name, metric)


def needs_slope(name: str, metric: Metric) -> None:
    """NumericalError for a metric that has no gradient anywhere."""
    if not metric.differentiable:
        raise NumericalError(
            f"{name} cannot use {metric.name}, whose gradient is zero wherever it exists; "
            "use the metric logit_diff, prob_diff or nll, or the method exact"
        )


def refuse_zeros(total: Tensor, metric: Metric) -> None:
    """NothingScored if every score is zero."""
    if not bool(total.any()):
        raise nothing_scored(metric)


def nothing_scored(metric: Metric) -> NothingScored:
    """The refusal of scores that are zero, or rounding, for every edge."""
    return NothingScored(
        f"every score is zero: {metric.name} does not change on these pairs, whatever is replaced, or its gradient vanishes; "
        "choose another metric or other pairs"
    )
