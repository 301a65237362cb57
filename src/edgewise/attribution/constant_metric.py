"""Metrics that no edge changes: what methods make of them is zero, or rounding, which must not become a ranking."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.attribution.base import nothing_scored
from edgewise.attribution.fitting import fitting_parts
from edgewise.models.hooks import steady
from edgewise.request import Batch, Request

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
    with request.subject.at_work(), steady(request.subject.model):
        if not any(fitting_parts(request, _changes)):
            raise nothing_scored(request.metric)


def _changes(batch: Batch) -> bool:
    """Whether the metric of a batch is another with every edge replaced."""
    subject, positions = batch.subject, batch.pairs.positions
    clean = subject.logits(batch.pairs.clean, positions)
    a, b = (batch.objective(one, clean) for one in (clean, batch.replacement.logits(subject, positions)))
    step = ROUNDING * torch.finfo(a.dtype).eps * torch.maximum(a.abs(), b.abs())
    return bool(((a - b).abs() > step).any())
