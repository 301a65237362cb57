"""Trials: removals tried in one batch, each on top of those before it that are expected to go, and who expects that.

An expectation costs nothing but time where it is wrong: what was tried on top of it is tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, final

from torch import Tensor

from edgewise.graph import Graph
from edgewise.search.state import Removal


class Span(NamedTuple):
    """Consecutive removals at one reader, by number: from `first` to before `stop`."""

    reader: int
    first: int
    stop: int


@final
@dataclass(frozen=True)
class Trials:
    """Removals asked about together. Trial i makes removal i and those before it that are expected to go (`goes`)."""

    removals: tuple[Removal, ...]
    goes: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.removals)

    @cached_property
    def made(self) -> list[list[bool]]:
        """[trial][removal]: which removals each trial makes."""
        count = range(len(self))
        return [[j == i or (j < i and self.goes[j]) for j in count] for i in count]

    @cached_property
    def spans(self) -> list[Span]:
        """The consecutive removals at each reader."""
        spans: list[Span] = []
        for number, removal in enumerate(self.removals):
            first = spans.pop().first if spans and spans[-1].reader == removal.reader else number
            spans.append(Span(removal.reader, first, number + 1))
        return spans

    def last_made(self, span: Span) -> list[int]:
        """In each trial, which removal of a span is the last that it makes, counted from 1; 0 if it makes none."""
        return [
            max((i + 1 for i, is_made in enumerate(made[span.first : span.stop]) if is_made), default=0)
            for made in self.made
        ]

    def split(self, most: int) -> Iterator[Trials]:
        """So many at once: the same trials where what is expected to go has gone before the next are made."""
        for start in range(0, len(self), most):
            yield Trials(self.removals[start : start + most], self.goes[start : start + most])

    def masks(self, mask: Tensor) -> Tensor:
        """bool [trial, writer, reader]: what is kept in each trial of what `mask` keeps."""
        masks = mask.unsqueeze(0).repeat(len(self), 1, 1)
        for made, trial_mask in zip(self.made, masks, strict=True):
            for removal, is_made in zip(self.removals, made, strict=True):
                if is_made:
                    trial_mask[removal.rows, removal.reader] = False
        return masks


@final
@dataclass
class BatchPlanner:
    """What to try next, as many removals as fit into one batch (`most`), and what to expect of each.

    Expected is what the same edges did when they were tried last (`known`: reader and writers → kept), in this search or an
    earlier one, in a trial that counted or not; else what the last removal from the same writer into a reader of the same
    kind did; else what the last one did.
    """

    graph: Graph
    most: int
    known: dict[tuple[int, tuple[int, ...]], bool] = field(default_factory=dict)
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
        """Take note of what a removal did in a trial, whether that counts or not."""
        self.known[self._edges(removal)] = kept

    def _kept(self, removal: Removal) -> bool:
        """Whether a removal is expected to be taken back."""
        alike = self._kept_alike.get(self._alike(removal), self._kept_last)
        return self.known.get(self._edges(removal), alike)

    def _edges(self, removal: Removal) -> tuple[int, tuple[int, ...]]:
        """Which edges go: all into a reader of layer 0 are the one that is asked about again after that."""
        return removal.reader, removal.writers or tuple(range(self.graph.reach(removal.reader)))

    def _alike(self, removal: Removal) -> tuple[str, tuple[int, ...] | None]:
        """What removals have in common that are expected to be decided alike."""
        reader = self.graph.readers[removal.reader]
        return reader[-3:] if reader.endswith(">") else reader[:1], removal.writers


@final
@dataclass
class TrialOutcome:
    """Logits [trial, example, vocab] of some trials, and what has changed on the way.

    `rows`: writer → [trial, token, d_model]; `projected`: (layer, slot) → [trial, token, d_head]; `inputs`: span →
    [trial, token, d_model], what its reader gets in the trials of the span alone; each at the tokens where it is needed.
    """

    trials: Trials
    logits: Tensor
    rows: dict[int, Tensor] = field(default_factory=dict)
    projected: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    inputs: dict[Span, Tensor] = field(default_factory=dict)
