"""SearchState: the effects of removals, several measured at once, each as if it were tested alone after those before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, final

import torch
from torch import Tensor

from edgewise.attribution.fitting import unless_too_large
from edgewise.errors import FileError
from edgewise.models.hooks import steady
from edgewise.ranks import current
from edgewise.request import Request
from edgewise.search.base import Kept
from edgewise.search.incremental.pairs_at_once import PairsAtOnce
from edgewise.search.incremental.trials import BatchPlanner, Trials
from edgewise.search.state import KeepRule, Removal, State, removals_into
from edgewise.search.trace import Decision, Trace

T = TypeVar("T")


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
        self.graph = request.subject.graph
        self.mask = self.graph.edge_mask.clone()
        self._mask_array = self.mask.numpy()  # the same memory, changed without a tensor operation
        with torch.no_grad(), steady(request.subject.model):
            self._pairs = PairsAtOnce.of(request, self.mask)
            (self._clean,) = self._means(self._fitting(PairsAtOnce.sums_of_clean))
        self._planner = BatchPlanner(self.graph, min(current().gather(self._pairs.most)))
        self._decisions: list[Decision] = []
        self._earlier: list[list[Decision]] = []
        self._behind = False
        self._rest: list[bool] = []  # of the next removals, which go by what was measured too early

    def start(self, rule: KeepRule, trace: Trace) -> None:
        """Begin a search in which everything is kept; it goes on where its trace ends. By `rule` decisions are expected."""
        if self._decisions:
            self._earlier.append(self._decisions)
            self._behind = True
        self.mask.copy_(self.graph.edge_mask)
        self._left = self.graph.n_edges
        self.value, self.tested, self.computed = self._clean, 0, 0
        self.trace, self._rule, self._decisions = trace, rule, []
        self._taken_over = len(trace.decisions)
        # A trace of an earlier version calls shared keys and values as it did.
        trace.decisions = [replace(known, edge=self.graph.current_name(known.edge)) for known in trace.decisions]
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
        counts |= {"from_trace": self._taken_over} if self._taken_over else {}
        return Kept(self.mask.clone(), counts, time.perf_counter() - started)

    def effects(self, removals: Sequence[Removal]) -> Iterator[tuple[Removal, float]]:
        remaining = removals
        while remaining and (after := self._measured_before(remaining[0])) is not None:
            self._behind = True
            yield remaining[0], after
            remaining = remaining[1:]
        if remaining:
            self._pairs.restore() if self._behind else self._pairs.settle()
            self._behind = False
        self._rest = []
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

    def rehearse(self, candidates: Tensor) -> None:
        """Make the trials that take most memory: at the end, and where only `candidates` are left, at the first layers."""
        graph = self.graph
        with torch.no_grad(), steady(self.request.subject.model):
            self._try([len(graph.readers) - 1], candidates)
            self._try([graph.mlp_reader(graph.layers - 1)] if graph.mlps else [], candidates)
            self.mask.copy_(candidates)
            self._pairs.restore()
            for layer in range(min(2, graph.layers)):
                attention = graph.attention_readers(layer)
                self._try(reversed(range(attention.start, attention.stop)), candidates)

    def _try(self, readers: Iterable[int], candidates: Tensor) -> None:
        if batch := tuple(removals_into(self.graph, readers, candidates)[: self._pairs.most]):
            self._pairs.sums(Trials(batch, (False,) * len(batch)))

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
        trials = current().of_first(lambda: self._expected(removals))
        (sums, outcome), gone = self._fitting(lambda pairs: pairs.sums(trials)), list[int]()
        values = self._means(sums)
        supposed, decided = self._suppose(trials, values), 0
        for number, (removal, goes) in enumerate(zip(trials.removals, trials.goes, strict=True)):
            yield removal, values[number]
            kept = self._decisions[-1].kept
            self._planner.learn(removal, kept)
            gone += [] if kept else [number]
            decided += 1
            if goes == kept:  # what was tried on top of it stands on wrong ground
                break
        self._pairs.commit(outcome, gone)
        self._rest = supposed[decided:]
        self.computed += decided
        return decided

    def _expected(self, removals: Sequence[Removal]) -> Trials:
        """What to ask next. Where the pairs are taken in parts, a part is asked first, which is worth so much time there."""
        if self._pairs.together:
            return self._planner.plan(removals)
        return self._fitting(lambda pairs: pairs.foretold(removals, self._rest, self._planner, self._rule))

    def _fitting(self, work: Callable[[PairsAtOnce], T]) -> T:
        """What `work` makes of the pairs; with half as many at once, from here on, where memory does not suffice."""
        while (found := unless_too_large(lambda: work(self._pairs))) is None:
            self._pairs = self._pairs.half()
            self._pairs.restore()
        return found

    def _means(self, sums: Tensor) -> list[float]:
        """Means over the pairs of all ranks."""
        return (current().sum(sums) / len(self.request.pairs)).tolist()

    def _suppose(self, trials: Trials, values: Sequence[float]) -> list[bool]:
        """Expect of every removal what it did in its trial: whether it goes."""
        before, gone = self.value, list[bool]()
        for removal, goes, after in zip(trials.removals, trials.goes, values, strict=True):
            kept = removal.tested and self._rule.keeps(before, after)
            self._planner.suppose(removal, kept)
            gone.append(not kept)
            before = after if goes else before
        return gone
