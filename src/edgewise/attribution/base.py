"""The contract of an attribution method: a model and pairs in, one score for each edge out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.errors import NumericalError
from edgewise.metrics import Metric
from edgewise.request import Request, Step


class Method(ABC):
    """An attribution method. `cost` says what it takes per batch, `paper` where it comes from."""

    name: ClassVar[str]
    summary: ClassVar[str]
    cost: ClassVar[str]
    paper: ClassVar[str] = ""

    @abstractmethod
    def scores(self, request: Request) -> Tensor:
        """Mean score of each edge over the examples, [writer, reader]; positive = the edge helps."""


class GradientMethod(Method):
    """A method that scores a batch from gradients; subclasses say where those are taken."""

    @abstractmethod
    def check(self, metric: Metric) -> None:
        """Refuse a metric whose gradient is no use where this method takes it."""

    @abstractmethod
    def batch_scores(self, step: Step) -> Tensor:
        """Scores [writer, reader] of one batch, summed over its examples."""

    @final
    def scores(self, request: Request) -> Tensor:
        self.check(request.metric)
        total = torch.zeros(request.subject.graph.edge_mask.shape, dtype=torch.float64)
        for step in request.track(request.steps(), request.batches, f"scoring edges ({self.name})"):
            total += self.batch_scores(step).double().cpu()
        if not bool((total * request.subject.graph.edge_mask).any()):
            raise NumericalError(
                f"every score is zero: the gradient of {request.metric.name} vanishes on these pairs, or clean and corrupted "
                "prompts are the same; choose another metric or other pairs"
            )
        return total / len(request.pairs)
