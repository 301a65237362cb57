"""Metrics that no edge changes: what methods make of them is zero, or rounding, which must not become a ranking."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.attribution.base import nothing_scored
from edgewise.metrics import Answers
from edgewise.models.hooks import steady
from edgewise.request import Request

# Scores that are all smaller than this may be rounding, and are looked into.
SUSPICIOUS = 1e-5
# How many units in the last place of a metric count as no change.
ROUNDING = 32


def refuse_rounding(scores: Tensor, request: Request) -> None:
    """NothingScored if all scores are small because the metric does not change."""
    finite = scores[scores.isfinite()]
    if not len(finite) or float(finite.abs().max()) < SUSPICIOUS:
        refuse_constant(request)


@torch.no_grad()
def refuse_constant(request: Request) -> None:
    """NothingScored if in all pairs the metric of the clean run is, but for rounding, that with all edges replaced."""
    subject, pairs = request.subject, request.pairs
    with subject.at_work(), steady(subject.model):
        replacer = request.ablation.prepare(subject, pairs, request.pairs_at_once)
        for part in pairs.batches(request.pairs_at_once):
            batch = subject.ready(part)
            clean = subject.logits(batch.clean, batch.positions)
            replaced = replacer(batch).logits(subject, batch.positions)
            answers = Answers(batch.correct, batch.wrong)
            if _differ(*(request.metric.objective(logits, answers, clean) for logits in (clean, replaced))):
                return
    raise nothing_scored(request.metric)


def _differ(a: Tensor, b: Tensor) -> bool:
    step = ROUNDING * torch.finfo(a.dtype).eps * torch.maximum(a.abs(), b.abs())
    return bool(((a - b).abs() > step).any())
