"""Hunt: searches of ACDC's kind. Every removal is decided as if it were tested alone, one after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from edgewise.engine.cached import frontier
from edgewise.engine.frontier import Frontier, Removal, Trials
from edgewise.errors import FileError, InvalidValue
from edgewise.models.hooks import steady
from edgewise.request import Request
from edgewise.search.base import Kept
from edgewise.search.forecast import Forecast
from edgewise.search.foresight import Foresight
from edgewise.search.judge import Judge
from edgewise.search.order import Stage, stages
from edgewise.search.trace import Decision, Trace

# Tokens (removals × examples × positions) of one batch of removals, and how many removals it has at the most.
TOKENS_AT_ONCE, REMOVALS_AT_ONCE = 8192, 32


@final
@dataclass(frozen=True)
class Rule:
    """When a removal is taken back: when it changes the metric (lower is better) by `tau` or more.

    Tau is at least 0; −∞, at which everything is kept, is let through. `sign`: "signed" takes an improvement for no change,
    "absolute" for a change. `whole_readers`: try all edges into a q, k or v together first.
    """

    tau: float
    sign: Literal["signed", "absolute"]
    whole_readers: bool

    def __post_init__(self) -> None:
        if self.sign not in ("signed", "absolute"):
            raise InvalidValue(f"the rule of acdc is 'signed' or 'absolute', not {self.sign!r}")
        tau = self.tau
        if isinstance(tau, bool) or not isinstance(tau, (int, float)) or math.isnan(tau):
            raise InvalidValue(f"tau must be a number, not {tau!r}")
        if -math.inf < tau < 0:
            raise InvalidValue(
                f"tau is {tau!r}, and must be at least 0: it is the change of the metric that keeps an edge"
            )

    def keeps(self, before: float, after: float) -> bool:
        """Whether a removal that moves the metric so is taken back; a change of exactly tau is."""
        change = abs(after - before) if self.sign == "absolute" else after - before
        return not change < self.tau

    def margin(self, change: float) -> float:
        """The log of a change over tau, from −4 to 4: positive for one that is taken back."""
        if self.tau <= 0:
            return 4.0 if self.keeps(0, change) else -4.0
        ratio = (abs(change) if self.sign == "absolute" else change) / self.tau
        return math.log(min(max(ratio, math.exp(-4)), math.exp(4)))


@final
@dataclass(frozen=True)
class Progress:
    """Where a hunt stands: removals tested, edges kept of those decided, edges to decide, and the metric."""

    tested: int
    kept: int
    remaining: int
    metric: float

    def __str__(self) -> str:
        return f"{self.tested:,} tested, {self.kept:,} kept, {self.remaining:,} to go, metric {self.metric:.4g}"


@final
class Ground:
    """What all hunts on one request share: the recordings, what the frontier keeps of them, and what was measured."""

    def __init__(self, request: Request) -> None:
        self.request = request
        batch = next(request.together().each_batch())
        with torch.no_grad(), steady(request.subject.model):
            self.front = frontier(batch.subject, batch.pairs, batch.replacement)
            self.judge = Judge(batch, self.front.clean_logits)
        self.most = max(1, min(REMOVALS_AT_ONCE, TOKENS_AT_ONCE // batch.pairs.clean.numel()))
        self.earlier: list[Sequence[Decision]] = []
        self.used = False

    def hunt(self, rule: Rule, candidates: Tensor, trace: Trace, label: str) -> Kept:
        """The edges that are kept of `candidates` bool [writer, reader]."""
        started, hunt = time.perf_counter(), Hunt(rule, self, candidates, trace)
        try:
            with torch.no_grad(), steady(self.request.subject.model):
                for _ in self.request.track(hunt.run(), self.front.graph.n_edges, f"testing edges ({label})", str):
                    pass
        finally:
            trace.close()
        self.earlier.append(hunt.decisions)
        counts = {"tested": hunt.tested, "computed": hunt.computed, "final": hunt.current}
        return Kept(self.front.mask.clone(), counts, time.perf_counter() - started)


@final
class Hunt:
    """One search under way, from the output back.

    As long as it decides like another one on the same ground, or like the part of it that its trace holds already, what was
    measured there is taken over. `computed` counts the tests that were not.
    """

    def __init__(self, rule: Rule, ground: Ground, candidates: Tensor, trace: Trace) -> None:
        self.rule, self.candidates, self.trace = rule, candidates, trace
        self.front: Frontier = ground.front
        self.judge = ground.judge
        self.decisions: list[Decision] = []
        self.current, self.computed, self.tested = self.judge.start, 0, 0
        self._alike = [tuple(trace.decisions), *ground.earlier]
        similar = ground.earlier[-1] if ground.earlier else ()
        # What was measured since the last removal: in layer 0 all edges into a reader are one, which is asked about twice.
        self._here: dict[tuple[int, tuple[int, ...]], float] = {}
        self._forecast = Forecast(self.front, self.judge)
        known = {one.edge: one.kept for one in similar}
        self._foresight = Foresight(self.front.graph, ground.most, known, self._margin)
        self._behind = ground.used
        ground.used = True
        self._kept, self._left = 0, self.front.graph.n_edges

    def run(self) -> Iterator[Progress]:
        """Test everything; yields once for every edge decided, tested or not."""
        graph, mask = self.front.graph, self.front.mask
        mask.copy_(graph.edge_mask)
        for stage in stages(graph, mask, self.candidates, whole_readers=self.rule.whole_readers):
            yield from self._told(int(mask[:, list(stage.drop)].sum()))
            self.front.drop(stage.drop)
            place = 0
            while place < len(stage.removals) and (decision := self._recalled(stage, stage.removals[place])):
                yield from self._recall(stage.removals[place], decision)
                place += 1
            if place < len(stage.removals):
                self.front.restore() if self._behind else self.front.settle()
                self._behind = False
                yield from self._test(stage, place)

    def _test(self, stage: Stage, place: int) -> Iterator[Progress]:
        while place < len(stage.removals):
            removal = stage.removals[place]
            if (after := self._here.get(self._edges(removal))) is not None and removal not in stage.forced:
                self.trace.add([self._decide(stage, removal, after)])
                place += 1
                yield from self._told(self._size(removal, self.decisions[-1]))
                continue
            trials = self._foresight.plan(stage.removals[place:], stage.forced)
            outcome = self.front.outcomes(trials)
            self._foresight.price(outcome.tokens)
            values = self.judge.values(outcome.logits)
            before, decisions = self.current, self._decisions(stage, trials, values)
            self._learn(trials, [before, *values], len(decisions))
            sizes = [
                self._size(removal, decision) for removal, decision in zip(trials.removals, decisions, strict=False)
            ]
            self.front.commit(outcome, [number for number, one in enumerate(decisions) if not one.kept])
            self.trace.add(decisions)
            self.computed += len(decisions)
            place += len(decisions)
            yield from self._told(sum(sizes))

    def _decisions(self, stage: Stage, trials: Trials, values: list[float]) -> list[Decision]:
        """Decisions up to the first that was not expected: what was tried on top of it stands on wrong ground."""
        decisions: list[Decision] = []
        for removal, goes, after in zip(trials.removals, trials.goes, values, strict=True):
            decisions.append(self._decide(stage, removal, after))
            if not self._foresight.learn(removal, goes, decisions[-1].kept):
                break
        return decisions

    def _learn(self, trials: Trials, values: list[float], decided: int) -> None:
        """What the trials that do not count say about what is to come; `values`: the metric before all, then in each."""
        before = values[0]
        for number, (removal, after) in enumerate(zip(trials.removals, values[1:], strict=True)):
            if number >= decided:
                self._foresight.suppose(removal, self.rule.keeps(before, after))
            before = after if trials.goes[number] else before

    def _recalled(self, stage: Stage, removal: Removal) -> Decision | None:
        """What this search decides by what another measured in the same state, or None if none did."""
        number, edge = len(self.decisions), removal.label(self.front.graph)
        if number < len(self.trace.decisions) and self.trace.decisions[number].edge != edge:
            raise FileError(f"the trace has {self.trace.decisions[number].edge} where this search tests {edge}")
        self._alike = [one for one in self._alike if number < len(one) and one[number].edge == edge]
        if not self._alike:
            return None
        decision = self._decide(stage, removal, self._alike[0][number].after)
        self._alike = [one for one in self._alike if one[number].kept == decision.kept]
        return decision

    def _recall(self, removal: Removal, decision: Decision) -> Iterator[Progress]:
        self._behind = True
        size = self._size(removal, decision)
        if not decision.kept:
            self.front.mask[removal.rows, removal.reader] = False
        if len(self.decisions) > len(self.trace.decisions):
            self.trace.add([decision])
        yield from self._told(size)

    def _decide(self, stage: Stage, removal: Removal, after: float) -> Decision:
        forced = removal in stage.forced
        kept = not forced and self.rule.keeps(self.current, after)
        decision = Decision(removal.label(self.front.graph), self.current, after, kept, not forced)
        self.decisions.append(decision)
        self.tested += decision.tested
        if kept:
            self._here[self._edges(removal)] = after
        else:
            self.current = after
            self._here.clear()
        return decision

    def _margin(self, removal: Removal) -> float | None:
        change = self._forecast.change(removal)
        return None if change is None else self.rule.margin(change)

    def _edges(self, removal: Removal) -> tuple[int, tuple[int, ...]]:
        """Which edges a removal is about, whether it names them or means all into a reader."""
        reader = removal.reader
        return reader, removal.writers or tuple(range(self.front.graph.reach(reader)))

    def _size(self, removal: Removal, decision: Decision) -> int:
        """How many edges a decision settles."""
        if removal.writers is not None:
            self._kept += decision.kept
            return len(removal.writers)
        return 0 if decision.kept else int(self.front.mask[:, removal.reader].sum())

    def _told(self, edges: int) -> Iterator[Progress]:
        self._left -= edges
        yield from [Progress(self.tested, self._kept, self._left, self.current)] * edges
