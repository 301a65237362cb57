"""The contract of an attribution method: a model and pairs in, one score for each edge out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.ablations import Ablation
from edgewise.engine.replacement import Replacement
from edgewise.errors import NumericalError
from edgewise.metrics import Answers, Metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track


@dataclass(frozen=True)
class Step:
    """One batch, ready to be scored: everything on the model's device, columns nobody reads cut off."""

    subject: Subject
    batch: Pairs
    replacement: Replacement
    metric: Metric

    def objective(self, logits: Tensor, clean_logits: Tensor) -> Tensor:
        """The metric with higher = better: float [example] for logits [example, vocab]."""
        return self.metric.objective(logits, Answers(self.batch.correct, self.batch.wrong), clean_logits)


@dataclass(frozen=True)
class Request:
    """What a method is asked to score."""

    subject: Subject
    pairs: Pairs
    metric: Metric
    ablation: Ablation
    batch_size: int
    track: Track

    @property
    def batches(self) -> int:
        """How many batches there are."""
        return -(-len(self.pairs) // self.batch_size)

    def steps(self) -> Iterator[Step]:
        """The batches with their replacements, one after the other."""
        replacer = self.ablation.prepare(self.subject, self.pairs, self.batch_size)
        for batch in self.pairs.batches(self.batch_size):
            ready = (batch.trimmed() if self.subject.causal else batch).to(self.subject.device)
            yield Step(self.subject, ready, replacer(ready), self.metric)


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
