"""LiveRun: a native run whose gradients can be taken. This is its contract; two kinds of it are `whole` and `by_block`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from edgewise.engine.rules import Changes
from edgewise.models.hooks import Hook
from edgewise.models.subject import Subject

Objective = Callable[[Tensor], Tensor]


class GradientSink:
    """What is given the gradients of a run, [example, position, ..]; what it does not want it need not define.

    None of the tensors may be changed in place. A layer whose readers have no gradient, since an edit of the run has put
    another value behind them, is left out.
    """

    def heads(self, layer: int, stream: Tensor, projected: Tensor, gradient: Tensor) -> None:
        """For a layer's stream at its attention's norm: what its projections gave, [.., reader, d_head], and the gradient."""

    def mlp_in(self, layer: int, gradient: Tensor) -> None:
        """The gradient at what a layer's MLP reads, before its norm, where it has a norm of its own or none."""

    def mlp_normed(self, layer: int, stream: Tensor, gradient: Tensor) -> None:
        """For a layer's stream at the norm that its MLP shares with its attention: the gradient at the norm's output."""

    def mlp_out(self, layer: int, gradient: Tensor) -> None:
        """The gradient at what a layer's MLP writes."""

    def final(self, gradient: Tensor) -> None:
        """The gradient at the final norm's input."""


class LiveRun(ABC):
    """A native run whose backward pass is still to come."""

    @property
    @abstractmethod
    def logits(self) -> Tensor:
        """[example, vocab], without gradient."""

    @abstractmethod
    def gradients(self, taker: GradientSink) -> None:
        """One backward pass, after which there can be another."""

    @abstractmethod
    def last_gradients(self, taker: GradientSink) -> None:
        """The last backward pass, which frees what the run has kept as it goes."""


@final
@dataclass(frozen=True)
class RunHooks:
    """Hooks of the caller's in a live run.

    `edits` change the run, and no gradient passes a value they put in place. `watching` see the run as edited.
    """

    edits: Sequence[Hook] = ()
    watching: Sequence[Hook] = ()


NO_HOOKS = RunHooks()


@final
@dataclass(frozen=True)
class LiveSetting:
    """What a run is made on: the tokens [example, position], the answer positions [example], and hooks around its own."""

    subject: Subject
    tokens: Tensor
    positions: Tensor
    changes: Changes
    hooks: RunHooks

    def around(self, own: Sequence[Hook], watching: Sequence[Hook] = ()) -> list[Hook]:
        """All hooks in the order in which they must act: what is watched is as edited, with a rule's changes behind it."""
        return [*self.hooks.edits, *self.changes.early, *watching, *own, *self.changes.late]

    def logits(self) -> Tensor:
        """The native run itself."""
        return self.subject.logits(self.tokens, self.positions)
