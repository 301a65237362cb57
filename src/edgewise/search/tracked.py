"""A search under way: its progress, its counts, and the trace that is closed whatever happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch

from edgewise.models.hooks import steady
from edgewise.search.base import Kept
from edgewise.search.incremental import SearchState


@final
@dataclass(frozen=True)
class Progress:
    """Where a search stands: removals tested, edges kept of those decided, edges to decide, and the metric."""

    tested: int
    kept: int
    remaining: int
    metric: float

    def __str__(self) -> str:
        return f"{self.tested:,} tested, {self.kept:,} kept, {self.remaining:,} to go, metric {self.metric:.4g}"


def run_tracked(steps: Iterator[int], state: SearchState, label: str) -> Kept:
    """Take all steps of a search, which say how many edges each has settled; what is kept then."""
    started, request, edges = time.perf_counter(), state.request, state.graph.n_edges
    try:
        with torch.no_grad(), steady(request.subject.model):
            for _ in request.track(_progress(steps, state), edges, f"testing edges ({label})", str):
                pass
    finally:
        state.trace.close()
    counts = {"tested": state.tested, "computed": state.computed, "final": state.value}
    return Kept(state.mask.clone(), counts, time.perf_counter() - started)


def _progress(steps: Iterator[int], state: SearchState) -> Iterator[Progress]:
    """Once for each edge that is decided, tested or not."""
    remaining = state.graph.n_edges
    for settled in steps:
        remaining -= settled
        if settled:
            progress = Progress(state.tested, int(state.mask.sum()) - remaining, remaining, state.value)
            yield from [progress] * settled
