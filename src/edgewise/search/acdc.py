"""ACDC: removes every edge, from the output back, whose removal changes the metric by less than a threshold.

    remove e  if  metric(circuit without e) − metric(circuit) < τ        (metric: lower is better, KL to the clean model)

Conmy et al. 2023, "Towards Automated Circuit Discovery". An edge that goes stays gone and its metric is the new baseline.
Before the edges into a head's q, k and v, all of them together are tried ("whole readers"). The result is that of testing
one edge at a time: removals are tried on the batch axis on top of one another, as if all were accepted, and count up to the
first that is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch

from edgewise.engine.frontier import Frontier, Removal, frontier
from edgewise.errors import InvalidValue, NumericalError
from edgewise.graph import Graph
from edgewise.models.hooks import steady
from edgewise.request import Request, Step
from edgewise.search.base import Found, Search, refuse_edges
from edgewise.search.order import stages
from edgewise.search.trace import Decision, Trace

# Tokens (removals × examples × positions) of one batch of removals, and how many removals it has at the most.
TOKENS_AT_ONCE, REMOVALS_AT_ONCE = 8192, 32


@final
@dataclass(frozen=True)
class ACDC(Search):
    """Greedy removal, edge by edge. `tau`: the threshold; `rule`: whether an improvement counts as change ("absolute").

    `whole_readers`: try all edges into a q, k or v together first. `trace`: a file for the decisions, one JSON object a
    line, written as they are made; if it exists, an interrupted search goes on from it.
    """

    tau: float = 0.01
    rule: Literal["signed", "absolute"] = "signed"
    whole_readers: bool = True
    trace: str | None = None
    name: ClassVar[str] = "acdc"
    summary: ClassVar[str] = "every edge tested from the output back, dropped if the metric hardly moves"
    cost: ClassVar[str] = "part of a forward for each edge"
    paper: ClassVar[str] = "https://arxiv.org/abs/2304.14997"
    metric: ClassVar[str] = "kl"
    dial: ClassVar[str] = "tau"
    dial_values: ClassVar[tuple[float, ...]] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)

    def __post_init__(self) -> None:
        if not isinstance(self.tau, (int, float)) or math.isnan(self.tau):
            raise InvalidValue(f"tau must be a number, not {self.tau!r}")
        if self.rule not in ("signed", "absolute"):
            raise InvalidValue(f"the rule of acdc is 'signed' or 'absolute', not {self.rule!r}")

    def for_edges(self, edges: int | None) -> ACDC:
        refuse_edges(self.name, edges)
        return self

    @torch.no_grad()
    def search(self, request: Request) -> Found:
        step = next(request.together().steps())
        trace = Trace.open(Path(self.trace) if self.trace else None, self._key(request))
        try:
            with steady(request.subject.model):
                front = frontier(step.subject, step.batch, step.replacement)
                hunt = _Hunt(self, step, front, trace)
                for _ in request.track(hunt.run(), request.subject.graph.n_edges, "testing edges (acdc)"):
                    pass
        finally:
            trace.close()
        return Found(front.mask, {"tested": len(trace.decisions), "final": hunt.current})

    def keeps(self, before: float, after: float) -> bool:
        """Whether a removal that moves the metric so is taken back; a change of exactly tau is."""
        change = abs(after - before) if self.rule == "absolute" else after - before
        return not change < self.tau

    def _key(self, request: Request) -> dict[str, Any]:
        options = {name: repr(value) for name, value in asdict(self).items() if name != "trace"}
        return {"edgewise": "acdc", "options": options, **request.key}


@dataclass
class _Hunt:
    """One search under way: where it is, what the metric is now, how far ahead it dares to test."""

    method: ACDC
    step: Step
    front: Frontier
    trace: Trace

    def __post_init__(self) -> None:
        self.current = self._metric(self.front.clean_logits)
        self.ahead = 4
        tokens = self.step.batch.clean.numel()
        self.most = max(1, min(REMOVALS_AT_ONCE, TOKENS_AT_ONCE // tokens))
        self.replayed = 0

    def run(self) -> Iterator[int]:
        """Test everything; yields once for every edge decided, tested or not."""
        graph, earlier = self.front.graph, list(self.trace.decisions)
        for stage in stages(graph, self.front.mask, whole_readers=self.method.whole_readers):
            yield from range(int(self.front.mask[:, list(stage.drop)].sum()))
            self.front.drop(stage.drop)
            fresh = self._replay(stage.removals, earlier)
            if fresh and self.replayed:
                self.front.restore()
                self.replayed = 0
            self.front.settle()
            yield from self._test(fresh)

    def _replay(self, removals: tuple[Removal, ...], earlier: list[Decision]) -> tuple[Removal, ...]:
        """Apply decisions of an earlier run; the removals it did not come to."""
        for number, removal in enumerate(removals):
            if not earlier:
                return removals[number:]
            decision = earlier.pop(0)
            if not decision.kept:
                self.front.mask[removal.rows, removal.reader] = False
                self.current = decision.after
            self.replayed += 1
        return ()

    def _test(self, removals: tuple[Removal, ...]) -> Iterator[int]:
        place = 0
        while place < len(removals):
            tried = removals[place : place + min(self.ahead, self.most)]
            outcome = self.front.outcomes(tried)
            decisions = self._decide(tried, [self._metric(one) for one in outcome.logits])
            rejected = decisions[-1].kept
            self.front.commit(outcome, len(decisions) - rejected)
            self.trace.add(decisions)
            self.ahead = min(2 * self.ahead, self.most) if not rejected else max(2, len(decisions))
            place += len(decisions)
            yield from range(sum(1 for removal in tried[: len(decisions)] if removal.writer is not None))

    def _decide(self, tried: tuple[Removal, ...], values: list[float]) -> list[Decision]:
        """Decisions up to the first removal that is taken back, after which the others stand on wrong ground."""
        decisions = []
        for removal, after in zip(tried, values, strict=True):
            kept = self.method.keeps(self.current, after)
            decisions.append(Decision(label(self.front.graph, removal), self.current, after, kept))
            if kept:
                break
            self.current = after
        return decisions

    def _metric(self, logits: torch.Tensor) -> float:
        value = -float(self.step.objective(logits, self.front.clean_logits).double().mean())
        if not math.isfinite(value):
            raise NumericalError(f"the metric {self.step.metric.name} is {value} in the middle of the search")
        return value


def label(graph: Graph, removal: Removal) -> str:
    """`writer->reader`, or `->reader` for all edges into a reader."""
    if removal.writer is None:
        return f"->{graph.readers[removal.reader]}"
    return graph.edge_name(removal.writer, removal.reader)
