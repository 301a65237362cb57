"""Foresight: guesses decisions before they are made, so that many removals can be tried at once.

A guess costs nothing but time where it is wrong: what was tried on top of it is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import final

from edgewise.engine.frontier import Removal, Trials
from edgewise.graph import Graph
from edgewise.search.odds import Evidence, Odds

# What a batch costs before its first trial (Python, weights that are read from memory), in trials and in tokens on which a
# node runs.
OVERHEAD, OVERHEAD_TOKENS = 1.0, 40.0
# The share of wrong guesses on some ground before there was any, and how much the latest weighs in it.
DOUBT, WEIGHT = 0.2, 0.1
# How much the last decision on some ground counts beside a forecast.
RELEVANCE = {"edges": 1.0, "writer and kind": 1.0, "writer": 0.4, "last": 0.4}

Ground = tuple[str, object]


@final
@dataclass
class Foresight:
    """What to try next, and what to expect of it. `most`: how many removals fit into one batch.

    Guesses by what a removal did in a trial that did not count, or by `known`, the decisions of a similar search (edge →
    kept); else by the last decision about the same edges, about the same writer at a reader of the same kind, at any reader,
    or about anything. How often it was wrong lately is counted for each of these grounds. Where there is a forecast, odds
    weigh its `margin`, the log of the expected change over the threshold, with the last decision instead.
    """

    graph: Graph
    most: int
    known: dict[str, bool]
    margin: Callable[[Removal], float | None] = lambda _: None
    overhead: float = 2.0
    _kept: dict[Ground, bool] = field(default_factory=dict)
    _doubts: dict[str, float] = field(default_factory=dict)
    _reasons: dict[Removal, str] = field(default_factory=dict)
    _odds: Odds = field(default_factory=Odds)
    _evidence: dict[Removal, Evidence] = field(default_factory=dict)

    def plan(self, removals: tuple[Removal, ...], forced: frozenset[Removal]) -> Trials:
        """As many of the next removals as pay best, with what is expected of each; what is `forced` will go."""
        goes: list[bool] = []
        self._reasons.clear()
        self._evidence.clear()
        likely, decided, price = 1.0, 0.0, self.overhead
        for removal in removals[: self.most]:
            # One more pays as long as it is likelier to count than what the others decide for each unit of their price.
            if goes and likely * price < decided:
                break
            decided, price = decided + likely, price + 1
            if removal in forced:
                goes.append(True)
                continue
            kept, doubt = self._guess(removal)
            goes.append(not kept)
            likely *= 1 - doubt
        return Trials(removals[: len(goes)], tuple(goes))

    def learn(self, removal: Removal, goes: bool, kept: bool) -> bool:
        """Take note of a decision about a removal that was expected to go, or not; whether that was right."""
        if (evidence := self._evidence.get(removal)) is not None:
            self._odds.learn(evidence, kept)
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
        self.overhead = OVERHEAD + OVERHEAD_TOKENS / tokens

    def _guess(self, removal: Removal) -> tuple[bool, float]:
        """Whether a removal will be taken back, and how likely that is wrong."""
        if self.known and (known := self.known.get(removal.label(self.graph))) is not None:
            return known, self._doubt(removal, "seen")
        ground = next((one for one in self._grounds(removal) if one in self._kept), None)
        kept, reason = (self._kept[ground], ground[0]) if ground else (False, "none")
        if (margin := self.margin(removal)) is None:
            return kept, self._doubt(removal, reason)
        self._evidence[removal] = evidence = Evidence(1, margin, (1 if kept else -1) * RELEVANCE.get(reason, 0.0))
        odds = self._odds.of(evidence)
        return odds > 0.5, min(odds, 1 - odds)

    def _doubt(self, removal: Removal, reason: str) -> float:
        """How often guesses for this reason were wrong lately; whether this one is will be counted."""
        self._reasons[removal] = reason
        return self._doubts.get(reason, DOUBT)

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
