"""Frontier: what removing edges in front of an already pruned circuit does to the logits, at the least cost.

A search that goes from the output back meets, at every reader, only clean writers before it; what comes after is a circuit
whose readers are decided. Several removals share the batch axis: each is tried on top of those before it that are expected
to go. The answers hold up to the first removal that turns out otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

from torch import Tensor

from edgewise.engine.forward import masked_forward
from edgewise.engine.replacement import Replacement
from edgewise.engine.writer_buffer import Workspace
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.search.incremental.trials import TrialOutcome, Trials


class Frontier(ABC):
    """The state of a circuit pruned from the output back. `mask` bool [writer, reader]: what is kept, changed by the search.

    Call `settle` when the search moves on to another node or layer.
    """

    def __init__(self, subject: Subject, mask: Tensor, clean_logits: Tensor) -> None:
        self.subject, self.graph, self.mask = subject, subject.graph, mask
        self.clean_logits = clean_logits

    @abstractmethod
    def outcomes(self, trials: Trials) -> TrialOutcome:
        """What the model answers in each trial; all at `logits`, at one MLP or at the attention of one layer."""

    @abstractmethod
    def commit(self, outcome: TrialOutcome, gone: Sequence[int]) -> None:
        """Take over what removals changed that were made: the last of these numbers and all before it that its trial made."""

    @abstractmethod
    def settle(self) -> None:
        """The search moves on: forget what belongs to the last place."""

    @abstractmethod
    def restore(self) -> None:
        """Compute again all that is kept in between, after `mask` was changed from outside."""

    @abstractmethod
    def logits(self) -> Tensor:
        """What the circuit itself answers where it was restored: [example, vocab]."""


@final
class WalkingFrontier(Frontier):
    """Runs the whole masked model for every removal, several at a time: exact for every family."""

    def __init__(self, subject: Subject, batch: Pairs, replacement: Replacement, mask: Tensor) -> None:
        super().__init__(subject, mask, subject.logits(batch.clean, batch.positions))
        self.batch, self.replacement, self.workspace = batch, replacement, Workspace()

    def outcomes(self, trials: Trials) -> TrialOutcome:
        return TrialOutcome(trials, self._run(trials.masks(self.mask)))

    def logits(self) -> Tensor:
        return self._run(self.mask[None])[0]

    def _run(self, masks: Tensor) -> Tensor:
        batch, space = self.batch, self.workspace
        return masked_forward(self.subject, batch.clean, batch.positions, masks, self.replacement, workspace=space)

    def commit(self, outcome: TrialOutcome, gone: Sequence[int]) -> None:
        return

    def settle(self) -> None:
        return

    def restore(self) -> None:
        return
