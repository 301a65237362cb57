"""PairsAtOnce: the pairs that a search judges together, all kept, or where memory does not hold them a part at a time.

Kept, every node's last write lies ready for all pairs. Otherwise what belongs to a part is made again from the mask when its
turn comes, which takes two runs of the model, so each turn answers many questions: one part says by itself how it would
decide (`foretold`), and what all parts together say counts up to the first decision that is another. The removals after it
were asked about too early, but by all: what they did then foretells what they will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from edgewise.attribution.fitting import noted_half, unless_too_large
from edgewise.engine.tiling import Tiling, tiling_for
from edgewise.request import Request
from edgewise.search.incremental.search_part import SearchPart
from edgewise.search.incremental.trials import BatchPlanner, TrialOutcome, Trials
from edgewise.search.state import KeepRule, Removal

# Trials that are made at once of a part of the pairs: more of them save little time, and each takes memory.
TRIALS_OF_PARTS = 8
# Removals that a part is asked about in its turn: of more, more are tried in vain after one that was foretold wrong.
REMOVALS_OF_A_TURN = 256


@final
@dataclass(frozen=True)
class Foretold:
    """What the part of a number would decide, as `trials` that expect it, and their metric summed over it, [trial]."""

    number: int
    trials: Trials
    sums: Tensor


@final
class PairsAtOnce:
    """The pairs of a request that are this rank's, kept together, or taken in parts where they are more than run at once.

    `mask` is what the search keeps. `most`: how many trials are made at once.
    """

    def __init__(self, request: Request, mask: Tensor) -> None:
        self.request, self.mask = request, mask
        self.most = _most(tiling_for(request.subject.device), request.pairs_at_once, request)
        self._make = request.maker()
        self._split = list(request.pairs.batches(request.pairs_at_once))
        self._at_hand: tuple[int, SearchPart] | None = None
        self._foretold: Foretold | None = None
        if self.together:
            self._take(0, mask)

    @classmethod
    def of(cls, request: Request, mask: Tensor) -> PairsAtOnce:
        """As many together as memory holds."""
        mine = request.share().together()
        found = unless_too_large(lambda: cls(mine, mask))
        while found is None:
            mine = _with_half(mine)
            found = unless_too_large(lambda mine=mine: cls(mine, mask))
        return found

    @property
    def together(self) -> bool:
        """Whether all are kept."""
        return len(self._split) == 1

    def half(self) -> PairsAtOnce:
        """With half as many at once; said in a warning. NumericalError where there is one already."""
        self._at_hand = None
        return PairsAtOnce(_with_half(self.request), self.mask)

    def sums_of_clean(self) -> Tensor:
        """The metric of the model itself, summed over the pairs that are here, float64 [1]."""
        total = torch.zeros(1, dtype=torch.float64)
        for number in range(len(self._split)):
            total += self._take(number, self.mask).sums_of_clean()
        return total

    def foretold(
        self, removals: Sequence[Removal], told: Sequence[bool], planner: BatchPlanner, rule: KeepRule
    ) -> Trials:
        """Trials of the next removals: of the first it is `told` which go, of the others the part at hand foretells it."""
        number = self._at_hand[0] if self._at_hand else 0
        part = self._take(number, self.mask.clone())
        trials, sums = part.decided(removals[:REMOVALS_OF_A_TURN], told, planner, rule)
        self._foretold = Foretold(number, trials, sums)
        return trials

    def sums(self, trials: Trials) -> tuple[Tensor, TrialOutcome | None]:
        """The metric of each trial, summed over the pairs that are here, float64 [trial]; what changed, where it is kept."""
        if self.together and len(trials) <= self.most:
            return self._take(0, self.mask).asked(trials)
        total, known = torch.zeros(len(trials), dtype=torch.float64), self._foretold
        for number in range(len(self._split)):
            if known is not None and known.number == number and known.trials == trials:
                total += known.sums
            else:
                total += self._take(number, self.mask.clone()).sums(trials, self.most)
        return total, None

    def _take(self, number: int, mask: Tensor) -> SearchPart:
        """The part of this number with `mask` kept; of two that do not fit together, the one before is let go first."""
        if self._at_hand is None or self._at_hand[0] != number:
            self._at_hand = None
            self._at_hand = number, SearchPart.of(self._make(self._split[number]), mask)
        self._at_hand[1].keep(mask)
        return self._at_hand[1]

    def commit(self, outcome: TrialOutcome | None, gone: Sequence[int]) -> None:
        """Take over what removals changed that were made, as `Frontier.commit`."""
        if outcome is not None:
            self._take(0, self.mask).frontier.commit(outcome, gone)

    def settle(self) -> None:
        """The search moves on to another place."""
        if self.together:
            self._take(0, self.mask).frontier.settle()

    def restore(self) -> None:
        """The mask was changed from outside."""
        if self.together:
            self._take(0, self.mask).frontier.restore()


def _with_half(request: Request) -> Request:
    """The request with half as many pairs in a batch, which its notes say."""
    return replace(request, at_once=noted_half(request, request.pairs_at_once))


def _most(tiling: Tiling, pairs: int, request: Request) -> int:
    """How many trials are made at once of so many pairs."""
    return max(1, min(tiling.removals, tiling.removal_tokens // (pairs * request.pairs.clean.shape[1])))


def sizes_of_search(request: Request, tiling: Tiling) -> Iterator[tuple[int, Tiling]]:
    """All pairs together under ever fewer trials; then parts of them, under few trials at a time."""
    pairs = len(request.share().pairs)
    trials = _most(tiling, pairs, request)
    while trials >= 1:
        yield pairs, replace(tiling, removals=trials)
        trials //= 4
    while pairs > 1:
        pairs //= 2
        yield pairs, replace(tiling, removals=min(TRIALS_OF_PARTS, _most(tiling, pairs, request)))
    yield 1, replace(tiling, removals=1)
