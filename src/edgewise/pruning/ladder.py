"""descend: circuits of one size or several from one proposal, from large to small, each begun where the last one ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from edgewise.engine.writer_buffer import Workspace
from edgewise.pairs import Pairs
from edgewise.prompts.sharing import sharing
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.fit import Files, fit
from edgewise.pruning.gate_layout import EdgeGates
from edgewise.pruning.optimization import Problem
from edgewise.pruning.rounding import best_edges
from edgewise.pruning.trained_gates import TrainedGates
from edgewise.pruning.training import Training
from edgewise.request import Request
from edgewise.search.base import Kept

# The share of the pairs that circuits are compared on and gates are not trained on, how many at most, and how many pairs
# there must be for it.
SHARE_TO_COMPARE, MOST_TO_COMPARE, ENOUGH_TO_COMPARE = 0.25, 64, 32


@final
@dataclass(frozen=True)
class Rung:
    """One size: how many `edges` the circuit has, how gates are trained from all edges on, and what is written meanwhile."""

    edges: int
    training: Training
    seed: int
    files: Files


@final
@dataclass(frozen=True)
class Data:
    """The pairs that gates are trained on, and those that circuits are compared on: others, where there are enough."""

    train: BatchCache
    compare: BatchCache

    @classmethod
    def of(cls, request: Request, compared: int) -> Data:
        """The pairs of a request; circuits are compared on some of them, `compared` at once, or on all, if that is 0."""
        every, pairs = BatchCache(request), request.pairs
        held = rows_to_compare(pairs) if compared else pairs.positions[:0]
        if not len(held):
            return cls(every, every)
        rest = torch.ones(len(pairs), dtype=torch.bool).index_fill(0, held, False).nonzero().flatten()
        return cls(every.part(rest, request.batch_size), every.part(held, compared))


@final
@dataclass(frozen=True)
class Proposal:
    """The edges that gates are trained of, bool [writer, reader], and what they score, if they were scored.

    `counts` goes to the provenance; `seconds` is how long it took, and `training_seconds` the
    training that narrowed it.
    """

    candidates: Tensor
    scores: Tensor | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    training_seconds: float = 0.0


def rows_to_compare(pairs: Pairs) -> Tensor:
    """Numbers of the pairs that circuits are compared on, spread evenly; none of their prompts is in another pair."""
    prompts = pairs.texts or [
        (tuple(a), tuple(b)) for a, b in zip(pairs.clean.tolist(), pairs.corrupted.tolist(), strict=True)
    ]
    groups = sharing(prompts)
    if min(len(groups), len(pairs)) < ENOUGH_TO_COMPARE:
        return torch.empty(0, dtype=torch.long)
    wanted = min(MOST_TO_COMPARE, round(SHARE_TO_COMPARE * len(pairs)))
    apart = len(pairs) // wanted
    chosen: list[int] = []
    for group in groups[apart - 1 :: apart]:
        if len(chosen) + len(group) <= wanted:
            chosen += group
    return torch.tensor(sorted(chosen))


def descend(proposal: Proposal, layout: EdgeGates, rungs: Sequence[Rung], data: Data) -> list[Kept]:
    """What is kept at each of `rungs`, in their order; the largest is trained first.

    Of the circuits that a training starts with and that its last steps leave, the one is kept that is best on the pairs to
    compare on: no worse there than the best-scored edges, or what the larger circuit's training made of so few.
    """
    graph, kept = layout.graph, dict[int, Kept]()
    before, begin, done = int(layout.candidates.sum()), None, list[TrainedGates]()
    passed = proposal.seconds + proposal.training_seconds
    for number in sorted(range(len(rungs)), key=lambda number: -rungs[number].edges):
        rung, started = rungs[number], time.perf_counter()
        way = (before - rung.edges) / (graph.n_edges - rung.edges) if rung.edges < graph.n_edges else 1.0
        training = rung.training.shortened(way)
        ahead = None if proposal.scores is None else layout.ahead(proposal.scores)
        penalty = training.led_by.between(graph.n_edges, before, rung.edges, training.approaching)
        fitted = fit(Problem(layout, penalty, training, rung.seed, ahead, begin), data.train, rung.files)
        trained = time.perf_counter()
        mask, begin, loss = _best(fitted, training, layout, rung.edges, data.compare)
        spent = {
            "proposal": 0.0 if done else proposal.seconds,
            "training": trained - started + (0.0 if done else proposal.training_seconds),
            "comparing": time.perf_counter() - trained,
        }
        passed, before = passed + time.perf_counter() - started, rung.edges
        counts = {"steps": training.steps, "final": loss, "compared_on": len(data.compare.rows), "spent": spent}
        kept[number] = Kept(mask, {**counts, **proposal.counts}, passed)
        done.append(fitted)
    for fitted in done:
        fitted.done()
    return [kept[number] for number in range(len(rungs))]


def _best(
    fitted: TrainedGates, training: Training, layout: EdgeGates, edges: int, compare: BatchCache
) -> tuple[Tensor, Tensor, float]:
    """The best circuit of the shortlist, the latest of equal ones, with its logits and its loss; without one, the last."""
    found = dict[bytes, tuple[float, Tensor, Tensor]]()
    workspace = Workspace()
    for logits in reversed(fitted.shortlist or (fitted.logits,)):
        mask = best_edges(layout.graph, training.gates.ranking(layout, logits), edges)
        name = mask.numpy().tobytes()
        if name not in found:
            found[name] = compare.loss(mask, workspace), mask, logits
    loss, mask, logits = min(found.values(), key=lambda one: one[0])
    return mask, logits, loss
