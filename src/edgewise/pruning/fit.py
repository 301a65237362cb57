"""fit: train gates, with the files that are written on the way, and give what training leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from edgewise.errors import NumericalError
from edgewise.models.hooks import steady
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.history import History
from edgewise.pruning.history_plot import check_curves, draw_curves
from edgewise.pruning.optimization import Optimization, Problem
from edgewise.pruning.trained_gates import TrainedGates
from edgewise.ranks import current
from edgewise.store.checkpoint import Checkpoint


@final
@dataclass(frozen=True)
class Files:
    """What is written on the way: the state to go on from, the history, its picture. `key` says of which run."""

    key: dict[str, Any]
    checkpoint: str | None = None
    history: str | None = None
    curves: str | None = None


def fit(problem: Problem, feed: BatchCache, files: Files) -> TrainedGates:
    """Trains the gates on the batches of `feed`.

    NumericalError with the step if numbers run away; the last good state is then kept.
    """
    request, training = feed.request, problem.training
    if not request.metric.differentiable:
        raise NumericalError(
            f"training cannot use {request.metric.name}, whose gradient is zero wherever it exists; use kl or logit_diff"
        )
    check_curves(files.curves)
    checkpoint = Checkpoint(Path(files.checkpoint) if files.checkpoint else None, files.key)
    run = Optimization(problem, feed)
    saved = checkpoint.read()
    if saved is not None:
        run.restore(saved, checkpoint)
    request.note_seconds_before(checkpoint.seconds_before)
    history = run.history = History.open(Path(files.history) if files.history else None, run.history.records)
    try:
        with checkpoint.kept_on_the_way_out(), steady(request.subject.model):
            for _ in request.track(run.records(checkpoint), training.steps, "training gates", str):
                pass
    finally:
        history.close()
    if files.curves and current().first:
        draw_curves(history.records, files.curves)
    checkpoint.save()
    return TrainedGates(run.logits.detach(), tuple(run.shortlist), checkpoint)
