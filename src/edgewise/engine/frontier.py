"""Frontier: what removing edges in front of an already pruned circuit does to the logits, at the least cost.

A search that goes from the output back meets, at every reader, only clean writers before it; what comes after is a circuit
whose readers are decided. Several removals share the batch axis: each is tried on top of those before it that are expected
to go. The answers hold up to the first removal that turns out otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, final

from torch import Tensor

from edgewise.engine.descent import Descent
from edgewise.engine.forward import masked_forward
from edgewise.engine.replacement import Replacement
from edgewise.engine.versions import Versions
from edgewise.engine.writer_buffer import Workspace
from edgewise.graph import Graph
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs


@final
@dataclass(frozen=True)
class Removal:
    """Edges into one reader that go together: those from `writers`, or with None all there are."""

    reader: int
    writers: tuple[int, ...] | None

    @property
    def rows(self) -> int | list[int] | slice:
        """The part of the reader's column of a mask that goes."""
        if self.writers is None:
            return slice(None)
        return self.writers[0] if len(self.writers) == 1 else list(self.writers)

    def label(self, graph: Graph) -> str:
        """`writer->reader`, several writers with commas between, or `->reader` for all edges into a reader."""
        writers = ",".join(graph.writers[writer] for writer in self.writers or ())
        return f"{writers}->{graph.readers[self.reader]}"


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

    def masks(self, mask: Tensor) -> Tensor:
        """bool [trial, writer, reader]: what is kept in each trial of what `mask` keeps."""
        masks = mask.unsqueeze(0).repeat(len(self), 1, 1)
        for made, one in zip(self.made, masks, strict=True):
            for removal, is_made in zip(self.removals, made, strict=True):
                if is_made:
                    one[removal.rows, removal.reader] = False
        return masks


@final
@dataclass
class Outcome:
    """Logits [trial, example, vocab] of some trials, and what has changed on the way.

    `rows`: writer → [trial, token, d_model], one trial where it stands for all; `projected`: (layer, slot) →
    [trial, token, d_head]; `inputs`: span → [trial, token, d_model], what its reader gets in its trials, and after them
    if others follow; each at the tokens where it is needed. `tokens`: on how many the changed nodes run in each trial, on
    average.
    """

    trials: Trials
    logits: Tensor
    tokens: float
    rows: dict[int, Tensor] = field(default_factory=dict)
    projected: dict[tuple[int, int], Versions] = field(default_factory=dict)
    inputs: dict[Span, Tensor] = field(default_factory=dict)


class Frontier(ABC):
    """The state of a circuit pruned from the output back. `mask` bool [writer, reader] is its own and changes by `commit`.

    Call `settle` when the search moves on to another node or layer, and `drop` for readers whose node nobody reads.
    """

    def __init__(self, subject: Subject, clean_logits: Tensor) -> None:
        self.subject, self.graph = subject, subject.graph
        self.clean_logits = clean_logits
        self.mask = self.graph.edge_mask.clone()

    @abstractmethod
    def outcomes(self, trials: Trials) -> Outcome:
        """What the model answers in each trial; all at `logits`, at one MLP or at the attention of one layer."""

    @abstractmethod
    def commit(self, outcome: Outcome, gone: Sequence[int]) -> None:
        """Make removals permanent, given by their numbers: the last of these and all before it that its trial made."""

    @abstractmethod
    def settle(self) -> None:
        """The search moves on: forget what belongs to the last place."""

    @abstractmethod
    def restore(self) -> None:
        """Compute again all that is kept in between, after `mask` was changed from outside."""

    def descent(self, cotangent: Tensor) -> Descent | None:
        """A backward pass along the search that begins with this gradient [example, vocab] at the logits, if there is one."""
        return None

    def drop(self, readers: Sequence[int]) -> None:
        """Remove all edges into readers whose node nobody reads any more: nothing changes."""
        self.mask[:, list(readers)] = False


@final
class WalkingFrontier(Frontier):
    """Runs the whole masked model for every removal, several at a time: exact for every family."""

    def __init__(self, subject: Subject, batch: Pairs, replacement: Replacement) -> None:
        super().__init__(subject, subject.logits(batch.clean, batch.positions))
        self.batch, self.replacement, self.workspace = batch, replacement, Workspace()

    def outcomes(self, trials: Trials) -> Outcome:
        masks, batch, space = trials.masks(self.mask), self.batch, self.workspace
        run = masked_forward(self.subject, batch.clean, batch.positions, masks, self.replacement, workspace=space)
        return Outcome(trials, run, batch.clean.numel())

    def commit(self, outcome: Outcome, gone: Sequence[int]) -> None:
        for number in gone:
            removal = outcome.trials.removals[number]
            self.mask[removal.rows, removal.reader] = False

    def settle(self) -> None:
        return

    def restore(self) -> None:
        return
