"""PairsAtOnce: the pairs that a search judges together, all kept, or where memory does not hold them a part at a time.

Kept, every node's last write lies ready for all pairs. Otherwise each question goes through the pairs part by part, and what
belongs to a part is made again from the mask: two runs of the model more for each, and the same decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from edgewise.attribution.fitting import noted_half, unless_too_large
from edgewise.engine.tiling import Tiling, tiling_for
from edgewise.request import Batch, Request
from edgewise.search.incremental.cached import CachedFrontier
from edgewise.search.incremental.frontier import Frontier, WalkingFrontier
from edgewise.search.incremental.trials import TrialOutcome, Trials
from edgewise.search.search_metric import SearchMetric

# Trials that share the two runs in which a part of the pairs is restored: of more, the runs are a small part anyway.
TRIALS_OF_PARTS = 8


@final
@dataclass(frozen=True)
class SearchPart:
    """Some pairs: what removals do to their logits, and their metric."""

    frontier: Frontier
    metric: SearchMetric

    @classmethod
    def of(cls, batch: Batch) -> SearchPart:
        """A part in which every edge is kept."""
        kept = frontier(batch)
        return cls(kept, SearchMetric(batch, kept.clean_logits))


@final
class PairsAtOnce:
    """The pairs of a request that are this rank's, kept together, or taken in parts where they are more than run at once.

    `mask` is what the search keeps. `most`: how many trials are made at once.
    """

    def __init__(self, request: Request, mask: Tensor) -> None:
        self.request, self.mask = request, mask
        self._make = request.maker()
        self._kept = [self._part(self._make(request.pairs))] if request.batches == 1 else []
        self.most = _most(tiling_for(request.subject.device), request.pairs_at_once, request)

    @classmethod
    def of(cls, request: Request, mask: Tensor) -> PairsAtOnce:
        """As many together as memory holds."""
        mine = request.share().together()
        found = unless_too_large(lambda: cls(mine, mask))
        while found is None:
            mine = _with_half(mine)
            found = unless_too_large(lambda mine=mine: cls(mine, mask))
        return found

    def half(self) -> PairsAtOnce:
        """With half as many at once; said in a warning. NumericalError where there is one already."""
        return PairsAtOnce(_with_half(self.request), self.mask)

    def sums_of_clean(self) -> Tensor:
        """The metric of the model itself, summed over the pairs that are here, float64 [1]."""
        total = torch.zeros(1, dtype=torch.float64)
        for part in self._kept or map(self._part, self._batches()):
            total += part.metric.sums(part.frontier.clean_logits[None])
        return total

    def sums(self, trials: Trials) -> tuple[Tensor, list[TrialOutcome]]:
        """The metric of each trial, summed over the pairs that are here, float64 [trial]; what changed, where it is kept."""
        outcomes, total = list[TrialOutcome](), torch.zeros(len(trials), dtype=torch.float64)
        for part in self._kept or map(self._restored, self._batches()):
            outcome = part.frontier.outcomes(trials)
            total += part.metric.sums(outcome.logits)
            if self._kept:
                outcomes.append(outcome)
        return total, outcomes

    def _batches(self) -> Iterator[Batch]:
        return map(self._make, self.request.pairs.batches(self.request.pairs_at_once))

    def _part(self, batch: Batch) -> SearchPart:
        part = SearchPart.of(batch)
        part.frontier.mask = self.mask
        return part

    def _restored(self, batch: Batch) -> SearchPart:
        part = self._part(batch)
        part.frontier.restore()
        return part

    def commit(self, outcomes: Sequence[TrialOutcome], gone: Sequence[int]) -> None:
        """Take over what removals changed that were made, as `Frontier.commit`."""
        for part, outcome in zip(self._kept, outcomes, strict=True):
            part.frontier.commit(outcome, gone)

    def settle(self) -> None:
        """The search moves on to another place."""
        for part in self._kept:
            part.frontier.settle()

    def restore(self) -> None:
        """The mask was changed from outside."""
        for part in self._kept:
            part.frontier.restore()


def _with_half(request: Request) -> Request:
    """The request with half as many pairs in a batch, which its notes say."""
    return replace(request, at_once=noted_half(request, request.pairs_at_once))


def _most(tiling: Tiling, pairs: int, request: Request) -> int:
    """How many trials are made at once of so many pairs."""
    return max(1, min(tiling.removals, tiling.removal_tokens // (pairs * request.pairs.clean.shape[1])))


def sizes_of_search(request: Request, tiling: Tiling) -> Iterator[tuple[int, Tiling]]:
    """All pairs together under ever fewer trials; then parts of them, whose restoring several trials share."""
    pairs = len(request.share().pairs)
    trials = _most(tiling, pairs, request)
    while trials >= 1:
        yield pairs, replace(tiling, removals=trials)
        trials //= 4
    while pairs > 1:
        pairs //= 2
        yield pairs, replace(tiling, removals=min(TRIALS_OF_PARTS, _most(tiling, pairs, request)))
    yield 1, replace(tiling, removals=1)


def frontier(batch: Batch) -> Frontier:
    """The cheapest exact frontier for a model.

    A norm over all heads, of what they write or of their queries, lets a head that loses its last reader change what its
    whole layer writes, so that the writers before the reader at hand are no longer clean; such models (Gemma-2, OLMo-2) take
    the general walk.
    """
    kind = WalkingFrontier if batch.subject.heads_share_norm else CachedFrontier
    return kind(batch.subject, batch.pairs, batch.replacement)
