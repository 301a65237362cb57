"""SearchState: the effects of removals, several measured at once, each as if it were tested alone after those before it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch

from edgewise.engine.replacement import Replacement
from edgewise.engine.tiling import tiling_for
from edgewise.errors import FileError
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.request import Request
from edgewise.search.base import Kept
from edgewise.search.incremental.cached import CachedFrontier
from edgewise.search.incremental.frontier import Frontier, WalkingFrontier
from edgewise.search.incremental.trials import BatchPlanner, Trials
from edgewise.search.search_metric import SearchMetric
from edgewise.search.state import KeepRule, Removal, State
from edgewise.search.trace import Decision, Trace


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


@final
class SearchState(State):
    """The state of all searches on one request, one after the other: what is kept, what is cached, and what was measured.

    The next removals are tried together, each on top of those before it that are expected to go, and count up to the first
    that turns out otherwise. As long as a search decides like an earlier one, or like the part of it that its trace holds,
    what was measured there is taken over. `tested` counts decisions, `computed` those that were not taken over.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        batch = next(request.share().together().each_batch())
        with torch.no_grad(), steady(request.subject.model):
            self._frontier = frontier(batch.subject, batch.pairs, batch.replacement)
            self._metric = SearchMetric(batch, self._frontier.clean_logits)
        self.graph, self.mask = self._frontier.graph, self._frontier.mask
        self._mask_array = self.mask.numpy()  # the same memory, changed without a tensor operation
        tiling = tiling_for(request.subject.device)
        most = max(1, min(tiling.removals, tiling.removal_tokens // batch.pairs.clean.numel()))
        self._planner = BatchPlanner(self.graph, most)
        self._decisions: list[Decision] = []
        self._earlier: list[list[Decision]] = []
        self._behind = False

    def start(self, rule: KeepRule, trace: Trace) -> None:
        """Begin a search in which everything is kept; it goes on where its trace ends. By `rule` decisions are expected."""
        if self._decisions:
            self._earlier.append(self._decisions)
            self._behind = True
        self.mask.copy_(self.graph.edge_mask)
        self._left = self.graph.n_edges
        self.value, self.tested, self.computed = self._metric.start, 0, 0
        self.trace, self._rule, self._decisions = trace, rule, []
        self._alike = [tuple(trace.decisions), *map(tuple, self._earlier)]
        self._planner = BatchPlanner(self.graph, self._planner.most, self._planner.known)

    def run(self, steps: Iterator[int], label: str) -> Kept:
        """Take all steps of a search, which say how many edges each has settled; what is kept then."""
        started, request, edges = time.perf_counter(), self.request, self.graph.n_edges
        try:
            with torch.no_grad(), steady(request.subject.model):
                for _ in request.track(self._progress(steps), edges, f"testing edges ({label})", str):
                    pass
        finally:
            self.trace.close()
        counts = {"tested": self.tested, "computed": self.computed, "final": self.value}
        return Kept(self.mask.clone(), counts, time.perf_counter() - started)

    def effects(self, removals: Sequence[Removal]) -> Iterator[tuple[Removal, float]]:
        remaining = removals
        while remaining and (after := self._measured_before(remaining[0])) is not None:
            self._behind = True
            yield remaining[0], after
            remaining = remaining[1:]
        if remaining:
            self._frontier.restore() if self._behind else self._frontier.settle()
            self._behind = False
        while remaining:
            decided = yield from self._batch(remaining)
            remaining = remaining[decided:]

    def decide(self, removal: Removal, after: float, kept: bool) -> None:
        number = len(self._decisions)
        self._decisions.append(Decision(removal.label(self.graph), self.value, after, kept, removal.tested))
        self._alike = [decisions for decisions in self._alike if decisions[number].kept == kept]
        if number >= len(self.trace.decisions):
            self.trace.add(self._decisions[number:])
        self.tested += removal.tested
        if not kept:
            self._mask_array[removal.rows, removal.reader] = False
            self._left -= removal.edges(self.graph)
            self.value = after

    def drop(self, readers: Sequence[int]) -> None:
        self.mask[:, list(readers)] = False
        self._left = int(self.mask.sum())

    def _progress(self, steps: Iterator[int]) -> Iterator[Progress]:
        """Once for each edge that is decided, tested or not."""
        remaining = self.graph.n_edges
        for settled in steps:
            remaining -= settled
            yield from [Progress(self.tested, self._left - remaining, remaining, self.value)] * settled

    def _measured_before(self, removal: Removal) -> float | None:
        """The metric without these edges, if it was measured in this very state."""
        number, edge = len(self._decisions), removal.label(self.graph)
        if number < len(self.trace.decisions) and self.trace.decisions[number].edge != edge:
            raise FileError(f"the trace has {self.trace.decisions[number].edge} where this search tests {edge}")
        self._alike = [known for known in self._alike if number < len(known) and known[number].edge == edge]
        return self._alike[0][number].after if self._alike else None

    def _batch(self, removals: Sequence[Removal]) -> Generator[tuple[Removal, float], None, int]:
        """The effects of the first of these, up to one that is decided otherwise than expected; returns how many."""
        trials = self._planner.plan(removals)
        outcome = self._frontier.outcomes(trials)
        values, gone = self._metric.values(outcome.logits), list[int]()
        self._suppose(trials, values)
        decided = 0
        for number, (removal, goes) in enumerate(zip(trials.removals, trials.goes, strict=True)):
            yield removal, values[number]
            kept = self._decisions[-1].kept
            self._planner.learn(removal, kept)
            gone += [] if kept else [number]
            decided += 1
            if goes == kept:  # what was tried on top of it stands on wrong ground
                break
        self._frontier.commit(outcome, gone)
        self.computed += decided
        return decided

    def _suppose(self, trials: Trials, values: Sequence[float]) -> None:
        """Expect of every removal what it did in its trial."""
        before = self.value
        for removal, goes, after in zip(trials.removals, trials.goes, values, strict=True):
            self._planner.suppose(removal, self._rule.keeps(before, after))
            before = after if goes else before


def frontier(subject: Subject, batch: Pairs, replacement: Replacement) -> Frontier:
    """The cheapest exact frontier for a model.

    A norm over all heads, of what they write or of their queries, lets a head that loses its last reader change what its
    whole layer writes, so that the writers before the reader at hand are no longer clean; such models (Gemma-2, OLMo-2) take
    the general walk.
    """
    kind = WalkingFrontier if subject.heads_share_norm else CachedFrontier
    return kind(subject, batch, replacement)
