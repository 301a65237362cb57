"""Foresight: guesses decisions before they are made, so that many removals can be tried at once.

A guess costs nothing but time where it is wrong: what was tried on top of it is tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edgewise.engine.frontier import Removal, Trials
from edgewise.graph import Graph

# What a batch costs before its first trial (Python, weights that are read from memory), in tokens on which a node runs.
OVERHEAD = 40.0
# The share of wrong guesses on some ground before there was any, and how much the latest weighs in it.
DOUBT, WEIGHT = 0.2, 0.1

Ground = tuple[str, object]


@dataclass
class Foresight:
    """What to try next, and what to expect of it. `most`: how many removals fit into one batch.

    Guesses by what a removal did in a trial that did not count, or by `known`, the decisions of a similar search (edge →
    kept); else by the last decision about the same edges, about the same writer at a reader of the same kind, at any reader,
    or about anything. How often it was wrong lately is counted for each of these grounds.
    """

    graph: Graph
    most: int
    known: dict[str, bool]
    overhead: float = 2.0
    _kept: dict[Ground, bool] = field(default_factory=dict)
    _doubts: dict[str, float] = field(default_factory=dict)
    _reasons: dict[Removal, str] = field(default_factory=dict)

    def plan(self, removals: tuple[Removal, ...], forced: frozenset[Removal]) -> Trials:
        """As many of the next removals as pay best, with what is expected of each; what is `forced` will go."""
        goes: list[bool] = []
        self._reasons.clear()
        likely, decided, price = 1.0, 0.0, self.overhead
        for removal in removals[: self.most]:
            # One more pays as long as it is likelier to count than what the others decide for each unit of their price.
            if goes and likely * price < decided:
                break
            decided, price = decided + likely, price + 1
            if removal in forced:
                goes.append(True)
                continue
            kept, self._reasons[removal] = self._guess(removal)
            goes.append(not kept)
            likely *= 1 - self._doubts.get(self._reasons[removal], DOUBT)
        return Trials(removals[: len(goes)], tuple(goes))

    def learn(self, removal: Removal, goes: bool, kept: bool) -> bool:
        """Take note of a decision about a removal that was expected to go, or not; whether that was right."""
        if reason := self._reasons.get(removal):
            doubt = self._doubts.get(reason, DOUBT)
            self._doubts[reason] = doubt + WEIGHT * ((goes == kept) - doubt)
        self._kept.update(dict.fromkeys(self._grounds(removal), kept))
        return goes != kept

    def suppose(self, removal: Removal, kept: bool) -> None:
        """Take note of what a removal did in a trial that did not count."""
        self.known[removal.label(self.graph)] = kept

    def price(self, tokens: float) -> None:
        """Take note of how many tokens the nodes of a trial run on, on average."""
        self.overhead = OVERHEAD / tokens

    def _guess(self, removal: Removal) -> tuple[bool, str]:
        """Whether a removal will be taken back, and on what ground that is guessed."""
        if self.known and (known := self.known.get(removal.label(self.graph))) is not None:
            return known, "seen"
        return next(((self._kept[one], one[0]) for one in self._grounds(removal) if one in self._kept), (False, "none"))

    def _grounds(self, removal: Removal) -> Iterator[Ground]:
        """What decisions a guess can stand on, the nearest first."""
        # In layer 0 the one edge into a reader is all there are, and those have been tried together.
        yield "edges", (removal.reader, removal.writers or tuple(range(self.graph.reach(removal.reader))))
        name = self.graph.readers[removal.reader]
        kind = name[-3:] if name.endswith(">") else name[:1]
        yield "writer and kind", (kind, removal.writers)
        if removal.writers is not None:
            yield "writer", removal.writers
        yield "last", None
