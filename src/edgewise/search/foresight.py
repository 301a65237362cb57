"""Foresight: guesses decisions before they are made, so that many removals can be tried at once.

A guess costs nothing but time where it is wrong: what was tried on top of it is tried again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edgewise.engine.frontier import Removal, Trials
from edgewise.graph import Graph

# What a batch costs before its first trial (Python, weights that are read from memory), in tokens on which a node runs.
# And how much the latest decision weighs in the share of wrong guesses.
OVERHEAD, WEIGHT = 64.0, 0.1


@dataclass
class Foresight:
    """What to try next, and what to expect of it. `most`: how many removals fit into one batch.

    Guesses by what a removal did in a trial that did not count, or by `known`, the decisions of a similar search (edge →
    kept); then by the last decision about the same writer at a reader of the same kind, or else by the last decision.
    """

    graph: Graph
    most: int
    known: dict[str, bool]
    wrong: float = 0.3
    overhead: float = 4.0
    _kept: dict[tuple[str, tuple[int, ...] | None], bool] = field(default_factory=dict)
    _last: bool = False

    def plan(self, removals: tuple[Removal, ...], forced: frozenset[Removal]) -> Trials:
        """As many of the next removals as pay best, with what is expected of each; what is `forced` will go."""
        # (1 − (1 − w)ᵏ) / w decisions of k trials for the price of overhead + k: the best k is close to this.
        best = round(math.sqrt(2 * self.overhead / max(self.wrong, 1e-3)))
        tried = removals[: max(1, min(best, self.most))]
        return Trials(tried, tuple(removal in forced or not self._guess(removal) for removal in tried))

    def learn(self, removal: Removal, goes: bool, kept: bool) -> bool:
        """Take note of a decision about a removal that was expected to go, or not; whether that was right."""
        self.wrong += WEIGHT * ((goes == kept) - self.wrong)
        self._kept[self._kind(removal)] = self._last = kept
        return goes != kept

    def suppose(self, removal: Removal, kept: bool) -> None:
        """Take note of what a removal did in a trial that did not count."""
        self.known[removal.label(self.graph)] = kept

    def price(self, tokens: float) -> None:
        """Take note of how many tokens the nodes of a trial run on, on average."""
        self.overhead = OVERHEAD / tokens

    def _guess(self, removal: Removal) -> bool:
        known = self.known.get(removal.label(self.graph)) if self.known else None
        return self._kept.get(self._kind(removal), self._last) if known is None else known

    def _kind(self, removal: Removal) -> tuple[str, tuple[int, ...] | None]:
        name = self.graph.readers[removal.reader]
        return name[-3:] if name.endswith(">") else name[:1], removal.writers
