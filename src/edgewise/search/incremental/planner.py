"""BatchPlanner: expects decisions before they are made, so that many removals can be tried at once.

An expectation costs nothing but time where it is wrong: what was tried on top of it is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from edgewise.graph import Graph
from edgewise.search.incremental.trials import Trials
from edgewise.search.state import Removal


@final
@dataclass
class BatchPlanner:
    """What to try next, as many removals as fit into one batch (`most`), and what to expect of each.

    Expected is what a removal did in a trial that did not count, or in a similar search (`known`: edge → kept); else what
    the last one from the same writer into a reader of the same kind did; else what the last one did.
    """

    graph: Graph
    most: int
    known: dict[str, bool]
    _kept_alike: dict[tuple[str, tuple[int, ...] | None], bool] = field(default_factory=dict)
    _kept_last: bool = False

    def plan(self, removals: Sequence[Removal]) -> Trials:
        """The next removals, and which of them are expected to go."""
        batch = tuple(removals[: self.most])
        return Trials(batch, tuple(not removal.tested or not self._kept(removal) for removal in batch))

    def learn(self, removal: Removal, kept: bool) -> None:
        """Take note of a decision."""
        self._kept_alike[self._alike(removal)] = self._kept_last = kept

    def suppose(self, removal: Removal, kept: bool) -> None:
        """Take note of what a removal did in a trial that did not count."""
        self.known[removal.label(self.graph)] = kept

    def _kept(self, removal: Removal) -> bool:
        """Whether a removal is expected to be taken back."""
        alike = self._kept_alike.get(self._alike(removal), self._kept_last)
        return self.known.get(removal.label(self.graph), alike)

    def _alike(self, removal: Removal) -> tuple[str, tuple[int, ...] | None]:
        """What removals have in common that are expected to be decided alike."""
        reader = self.graph.readers[removal.reader]
        return reader[-3:] if reader.endswith(">") else reader[:1], removal.writers
