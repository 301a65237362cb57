"""SearchPart: some pairs that a search judges together, and what they alone would decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.request import Batch
from edgewise.search.incremental.cached import CachedFrontier
from edgewise.search.incremental.frontier import Frontier, WalkingFrontier
from edgewise.search.incremental.trials import BatchPlanner, TrialOutcome, Trials
from edgewise.search.search_metric import SearchMetric
from edgewise.search.state import KeepRule, Removal


@final
@dataclass(frozen=True)
class SearchPart:
    """Some pairs: what removals do to their logits, and their metric."""

    frontier: Frontier
    metric: SearchMetric

    @classmethod
    def of(cls, batch: Batch, mask: Tensor) -> SearchPart:
        """A part of which `mask`, bool [writer, reader], is kept."""
        kept = frontier(batch, mask)
        return cls(kept, SearchMetric(batch, kept.clean_logits))

    def keep(self, mask: Tensor) -> None:
        """From here on `mask` is what is kept, and is changed with it."""
        if self.frontier.mask is not mask:
            self.frontier.mask = mask
            self.frontier.restore()

    def sums_of_clean(self) -> Tensor:
        """The metric of the model itself, summed over the pairs, float64 [1]."""
        return self.metric.sums(self.frontier.clean_logits[None])

    def asked(self, trials: Trials) -> tuple[Tensor, TrialOutcome]:
        """The metric of each trial, summed over the pairs, float64 [trial], and what changed."""
        outcome = self.frontier.outcomes(trials)
        return self.metric.sums(outcome.logits), outcome

    def sums(self, trials: Trials, most: int) -> Tensor:
        """The metric of each trial, so many at once; afterwards what is expected to go has gone."""
        found = []
        for some in trials.split(most):
            sums, outcome = self.asked(some)
            self._make(outcome, [number for number, goes in enumerate(some.goes) if goes])
            found.append(sums)
        return torch.cat(found)

    def decided(
        self, removals: Sequence[Removal], told: Sequence[bool], planner: BatchPlanner, rule: KeepRule
    ) -> tuple[Trials, Tensor]:
        """What these pairs alone would decide, as trials that expect it, and their sums; what goes has gone afterwards.

        `told`: which of the first removals go in any case.
        """
        pairs, decided = len(self.frontier.clean_logits), list(told)
        found = [self.metric.sums(self.frontier.logits()[None])]
        value = found[0][0]
        if told:
            found.append(self.sums(Trials(tuple(removals[: len(told)]), tuple(told)), planner.most))
            value = next((after for after, goes in zip(found[1].flip(0), reversed(told), strict=True) if goes), value)
        while len(decided) < len(removals):
            trials, gone, done = planner.plan(removals[len(decided) :]), list[int](), 0
            sums, outcome = self.asked(trials)
            for removal, goes, after in zip(trials.removals, trials.goes, sums, strict=True):
                kept = removal.tested and rule.keeps(float(value) / pairs, float(after) / pairs)
                planner.learn(removal, kept)
                value = value if kept else after
                gone += [] if kept else [done]
                done += 1
                if goes == kept:  # what was tried on top of it stands on wrong ground
                    break
            decided += [number in gone for number in range(done)]
            found.append(sums[:done])
            self._make(outcome, gone)
        return Trials(tuple(removals), tuple(decided)), torch.cat(found[1:])

    def _make(self, outcome: TrialOutcome, gone: Sequence[int]) -> None:
        for number in gone:
            removal = outcome.trials.removals[number]
            self.frontier.mask[removal.rows, removal.reader] = False
        self.frontier.commit(outcome, gone)


def frontier(batch: Batch, mask: Tensor) -> Frontier:
    """The cheapest exact frontier for a model, with `mask` kept.

    A norm over all heads, of what they write or of their queries, lets a head that loses its last reader change what its
    whole layer writes, so that the writers before the reader at hand are no longer clean; such models (Gemma-2, OLMo-2) take
    the general walk.
    """
    kind = WalkingFrontier if batch.subject.heads_share_norm else CachedFrontier
    return kind(batch.subject, batch.pairs, batch.replacement, mask)
