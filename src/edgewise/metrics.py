"""Metrics: logits at the answer position → one number per example.

Each metric is a pure function of the logits, the answers and the clean model's logits. Inside the library higher is
better: `Metric.objective` negates those that are distances or losses (`kl`, `nll`), `Metric.value` reports them as they
are usually read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from edgewise.errors import InvalidValue, NumericalError, PairsError
from edgewise.pairs import NO_ANSWER
from edgewise.plugins import Members, described, inside


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """Right and wrong answer tokens of a batch, int64 [example, answer], padded with -1."""

    correct: Tensor
    wrong: Tensor


Function = Callable[[Tensor, Answers, Tensor], Tensor]


@final
@dataclass(frozen=True)
class Metric:
    """A named metric: one number per example from the logits at the answer position.

    `name`: the name it is known by.
    `function`: takes logits [example, vocab], Answers, and the clean logits [example, vocab]; returns float [example].
    `sign`: -1 if lower is better.
    `needs_wrong`: whether wrong answers must be given.
    `flat_at_clean`: whether its gradient vanishes at the clean logits.
    `differentiable`: whether it has a gradient at all. Methods refuse a metric whose gradient they cannot use.
    """

    name: str
    function: Function
    sign: int = 1
    needs_wrong: bool = False
    flat_at_clean: bool = False
    differentiable: bool = True

    def value(self, logits: Tensor, answers: Answers, clean_logits: Tensor) -> Tensor:
        """The metric as it is reported, float [example].

        `logits`, `clean_logits`: float [example, vocab].
        `answers`: the right and wrong tokens.
        Raises PairsError if wrong answers are missing, or an answer is outside the vocabulary, InvalidValue if the
        function gives anything but one number for each example, and NumericalError for NaN, infinite values, and values
        without the gradient that the metric is said to have.
        """
        if self.needs_wrong and bool((answers.wrong == NO_ANSWER).all(dim=1).any()):
            raise PairsError(f"the metric {self.name} needs wrong answers, and some examples have none")
        largest = int(max(answers.correct.max(), answers.wrong.max()))
        if largest >= logits.shape[-1]:
            raise PairsError(
                f"answer token id {largest} is outside the vocabulary of {logits.shape[-1]}: another model's tokenizer?"
            )
        with inside(f"the metric {self.name!r}", self.function):
            wide = logits.float() if logits.dtype.itemsize < 4 else logits
            values: Any = self.function(wide, answers, clean_logits)
        if isinstance(values, Tensor) and values.shape == logits.shape[:-1] and values.is_floating_point():
            return self._usable(values, logits)
        got = described(values) if isinstance(values, Tensor) else type(values).__name__
        raise InvalidValue(
            f"the metric {self.name} gave {got}; it must give one number for each example, float "
            f"{list(logits.shape[:-1])}: no mean over them, no axis besides"
        )

    def _usable(self, values: Tensor, logits: Tensor) -> Tensor:
        """The values; NumericalError where they are not numbers, or a gradient is wanted and they have none."""
        # A sum of numbers is one; it may overflow, which the numbers themselves then tell.
        if not math.isfinite(float(values.detach().sum())) and not bool(values.isfinite().all()):
            listed = values.detach().flatten()
            bad = listed.isfinite().logical_not().nonzero().flatten().tolist()
            raise NumericalError(
                f"the metric {self.name} is {float(listed[bad[0]])} for {len(bad)} example(s) of this batch, the "
                f"first being number {bad[0]}; where logits of answers are masked, choose another metric or other pairs"
            )
        if self.differentiable and logits.requires_grad and torch.is_grad_enabled() and not values.requires_grad:
            raise NumericalError(
                f"the metric {self.name} gives numbers without a gradient; compute it from the logits by torch alone, "
                "without .item(), .detach() or numpy, or use a method that needs no gradient, such as exact or acdc"
            )
        return values

    def objective(self, logits: Tensor, answers: Answers, clean_logits: Tensor) -> Tensor:
        """The metric turned so that higher is better, float [example].

        `logits`, `answers`, `clean_logits`: as in `value`.
        """
        return self.sign * self.value(logits, answers, clean_logits)


def logit_diff(logits: Tensor, answers: Answers, clean_logits: Tensor) -> Tensor:
    """Mean logit of the correct answers minus mean logit of the wrong ones.

    >>> logits = torch.tensor([[2.0, 5.0, 1.0]])
    >>> logit_diff(logits, Answers(torch.tensor([[1, -1]]), torch.tensor([[0, 2]])), logits)
    tensor([3.5000])
    """
    return _mean(logits, answers.correct) - _mean(logits, answers.wrong)


def prob_diff(logits: Tensor, answers: Answers, clean_logits: Tensor) -> Tensor:
    """Probability of the correct answers together minus that of the wrong ones (Hanna et al. 2023, greater-than).

    >>> logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    >>> prob_diff(logits, Answers(torch.tensor([[0, 2]]), torch.tensor([[1]])), logits)
    tensor([0.4000])
    """
    probabilities = logits.softmax(dim=-1)
    return _total(probabilities, answers.correct) - _total(probabilities, answers.wrong)


def kl(logits: Tensor, answers: Answers, clean_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(clean ‖ logits) in nats over the whole vocabulary; 0 where they agree.

    >>> clean, other = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    >>> kl(other, Answers(torch.tensor([[0]]), torch.tensor([[1]])), clean)
    tensor([0.1438])
    """
    clean_log = clean_logits.to(logits.dtype).log_softmax(dim=-1)
    probabilities = clean_log.exp()
    # A token that is masked in both adds nothing; −∞ − −∞ would be NaN.
    terms = probabilities * (clean_log - logits.log_softmax(dim=-1))
    return terms.masked_fill(probabilities == 0, 0).sum(dim=-1)


def nll(logits: Tensor, answers: Answers, clean_logits: Tensor) -> Tensor:
    """Negative log-likelihood in nats of the correct answers together.

    >>> logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    >>> nll(logits, Answers(torch.tensor([[0]]), torch.tensor([[1]])), logits)
    tensor([0.6931])
    """
    log_probabilities = logits.log_softmax(dim=-1)
    chosen = _gather(log_probabilities, answers.correct).masked_fill(answers.correct == NO_ANSWER, -torch.inf)
    return -chosen.logsumexp(dim=-1)


def accuracy(logits: Tensor, answers: Answers, clean_logits: Tensor) -> Tensor:
    """1 where the best correct answer has a larger logit than every wrong one; without wrong ones, than all tokens.

    >>> logits = torch.tensor([[2.0, 5.0, 1.0]])
    >>> accuracy(logits, Answers(torch.tensor([[0]]), torch.tensor([[2]])), logits)
    tensor([1.])
    """
    best = _gather(logits, answers.correct).masked_fill(answers.correct == NO_ANSWER, -torch.inf).amax(dim=-1)
    wrong = _gather(logits, answers.wrong).masked_fill(answers.wrong == NO_ANSWER, -torch.inf).amax(dim=-1)
    against_all = best >= logits.amax(dim=-1)
    return torch.where(wrong == -torch.inf, against_all, best > wrong).to(logits.dtype)


def _checked(member: object) -> Metric:
    if not isinstance(member, Metric):
        raise InvalidValue(f"{member!r} is not an edgewise.metrics.Metric")
    return member


_ALL = (
    Metric("logit_diff", logit_diff, needs_wrong=True),
    Metric("prob_diff", prob_diff, needs_wrong=True),
    Metric("kl", kl, sign=-1, flat_at_clean=True),
    Metric("nll", nll, sign=-1),
    Metric("accuracy", accuracy, differentiable=False),
)
METRICS: Members[Metric] = Members(
    "metric",
    "metrics",
    {metric.name: metric for metric in _ALL},
    _checked,
    spelled=lambda name: name.replace("-", "_"),
)


# How a metric is given: by its name, as itself, or as a function alone, of which higher is better.
AnyMetric = str | Metric | Function


def metric(name: AnyMetric) -> Metric:
    """The metric of that name (`-` and `_` are the same), the Metric itself, or that of a function, higher being better."""
    if isinstance(name, Metric):
        return name
    if callable(name) and not isinstance(name, type):
        return Metric(getattr(name, "__name__", type(name).__name__), name)
    return METRICS.named(name)


def _gather(values: Tensor, tokens: Tensor) -> Tensor:
    return values.gather(-1, tokens.clamp(min=0))


def _total(values: Tensor, tokens: Tensor) -> Tensor:
    return _gather(values, tokens).masked_fill(tokens == NO_ANSWER, 0).sum(dim=-1)


def _mean(values: Tensor, tokens: Tensor) -> Tensor:
    return _total(values, tokens) / (tokens != NO_ANSWER).sum(dim=-1)
