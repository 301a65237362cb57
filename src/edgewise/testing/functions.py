"""The laws on a metric and on an ablation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from edgewise.ablations import Ablation
from edgewise.api import attribute
from edgewise.errors import InvalidValue
from edgewise.metrics import Answers, Metric
from edgewise.models import Subject
from edgewise.testing.law_report import LawReport, demand, distance, kept, whole
from edgewise.testing.laws import N_EXAMPLES, random_pairs
from edgewise.testing.method_laws import tiny_subject
from edgewise.testing.traces import untouched

VOCABULARY = 11


def check_metric(metric: Metric) -> LawReport:
    """Check a metric by the laws that every metric obeys.

    `metric`: the Metric.

    Returns a LawReport if all laws hold. Raises InvalidValue with the laws that are broken.
    """
    if not isinstance(metric, Metric):
        raise InvalidValue(f"{metric!r} is not a metric: it must be an edgewise.metrics.Metric")
    laws = {
        "one finite number for each example": _one_each,
        "an example's number does not depend on the others": _alone,
        "what is said of its gradient is true": _gradient,
        "what it is given stays as it is": _left_alone,
        "sign is 1 or -1": _sign,
    }
    return _kept(f"the metric {metric.name!r}", laws, metric)


def check_ablation(ablation: Ablation | type[Ablation]) -> LawReport:
    """Check an ablation by the laws that every ablation obeys.

    `ablation`: the Ablation, or its class.

    Returns a LawReport if all laws hold. Raises InvalidValue with the laws that are broken.
    """
    made = ablation() if isinstance(ablation, type) else ablation
    if not isinstance(made, Ablation):
        raise InvalidValue(f"{ablation!r} is not an ablation: it must be a subclass of edgewise.ablations.Ablation")
    laws = {
        "scores under it are finite": _scores,
        "6 it does not depend on batch size": _batches,
        "8 it leaves no trace": _trace,
        "its key is plain values": _key,
    }
    return _kept(f"the ablation {made.name!r}", laws, made, tiny_subject())


def _kept(title: str, laws: Mapping[str, Callable[..., float]], *member: object) -> LawReport:
    """The report of laws that each take the member, and what it is tried on."""
    return kept(title, [(law, partial(measure, *member)) for law, measure in laws.items()])


# -- metrics ----------------------------------------------------------------------------------------------------------


def _given() -> tuple[Tensor, Answers, Tensor]:
    """Logits, answers of two kinds, and the logits of the clean run, float64."""
    generator = torch.Generator().manual_seed(0)
    logits, clean = (torch.randn(N_EXAMPLES, VOCABULARY, generator=generator, dtype=torch.float64) for _ in range(2))
    correct, wrong = torch.tensor([[0, -1], [1, 2], [3, -1], [4, 5], [6, -1]]), torch.tensor([[7], [8], [9], [10], [0]])
    return logits, Answers(correct, wrong), clean


def _one_each(metric: Metric) -> float:
    value = metric.function(*_given())
    got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    shaped = isinstance(value, Tensor) and value.shape == (N_EXAMPLES,)
    demand(shaped, f"{metric.name} gives {got} for {N_EXAMPLES} examples: it must give shape [{N_EXAMPLES}]")
    demand(whole(value), f"{metric.name} gives {value.tolist()}")
    return 0.0


def _alone(metric: Metric) -> float:
    logits, answers, clean = _given()
    together = metric.function(logits, answers, clean)
    rows = [slice(i, i + 1) for i in range(N_EXAMPLES)]
    alone = [metric.function(logits[r], Answers(answers.correct[r], answers.wrong[r]), clean[r]) for r in rows]
    return distance(torch.cat(alone), together)


def _gradient(metric: Metric) -> float:
    logits, answers, clean = _given()
    slope, at_clean = (_slope(metric, at, answers, clean) for at in (logits, clean))
    demand(
        metric.differentiable == (slope > 0), f"differentiable={metric.differentiable}, and its slope is {slope:.1e}"
    )
    flat = at_clean < 1e-9
    demand(
        not metric.differentiable or metric.flat_at_clean == flat,
        f"flat_at_clean={metric.flat_at_clean}, and its slope there is {at_clean:.1e}",
    )
    return 0.0


def _slope(metric: Metric, logits: Tensor, answers: Answers, clean: Tensor) -> float:
    at = logits.clone().requires_grad_()
    with torch.enable_grad():
        total = metric.function(at, answers, clean).sum()
    if not total.requires_grad:
        return 0.0
    (found,) = torch.autograd.grad(total, at, allow_unused=True)
    return 0.0 if found is None else float(found.abs().max())


def _left_alone(metric: Metric) -> float:
    given, before = _given(), _given()
    metric.function(*given)
    for name, ours, theirs in (("logits", given[0], before[0]), ("clean logits", given[2], before[2])):
        demand(torch.equal(ours, theirs), f"the {name} are others afterwards")
    return 0.0


def _sign(metric: Metric) -> float:
    demand(metric.sign in (1, -1), f"sign={metric.sign!r}")
    return 0.0


# -- ablations --------------------------------------------------------------------------------------------------------


def _values(ablation: Ablation, on: Subject, batch_size: int = N_EXAMPLES) -> Tensor:
    return attribute(on, random_pairs(on), method="eap", ablation=ablation, batch_size=batch_size).values


def _scores(ablation: Ablation, on: Subject) -> float:
    values = _values(ablation, on)
    demand(whole(values), f"{int((~torch.isfinite(values)).sum())} of {values.numel()} scores are NaN or infinite")
    return 0.0


def _batches(ablation: Ablation, on: Subject) -> float:
    return distance(_values(ablation, on, 2), _values(ablation, on))


def _trace(ablation: Ablation, on: Subject) -> float:
    with untouched(on.model):
        _values(ablation, on)
    return 0.0


def _key(ablation: Ablation, on: Subject) -> float:
    key: Any = ablation.key
    demand(key.get("ablation") == ablation.name, f"key is {key!r}: its entry 'ablation' must be the name")
    return 0.0
