"""Ranks: several processes, on one machine or many, that do one piece of work together, each its share.

Every rank makes the same calls with the same arguments inside `with distributed():`. Methods take a rank's share of the pairs
(`exact`: of the edges; a sweep: of its values), and what they measured is added up in the order of the ranks, so that every
rank goes on with the same numbers to the last bit, comes to the same decisions, and returns the same result. Outside of it
there is one rank.

What is exchanged is small (scores, gradients of gates, metrics), so it goes over the CPU ("gloo") on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor

from edgewise.errors import EdgewiseError, InvalidValue, RankError

T = TypeVar("T")
# How long a rank may take to say that it is still there.
ROLL_CALL = timedelta(seconds=5)


@final
@dataclass(frozen=True)
class Ranks:
    """Processes that work together, and which of them this is: `number` of `count`, the first being 0."""

    number: int = 0
    count: int = 1
    group: Any = None
    store: Any = None

    @property
    def first(self) -> bool:
        """Whether this rank writes files and tells what is going on."""
        return self.number == 0

    def share(self, total: int) -> slice:
        """The part of `total` things that is this rank's: consecutive ones, parts of nearly the same size.

        >>> [Ranks(number, 3).share(8) for number in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(self.number * total // self.count, (self.number + 1) * total // self.count)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, the same to the last bit on each; on the device of `tensor`."""
        if self.count == 1:
            return tensor
        parts = self.gather(tensor.detach().cpu())
        total = parts[0].clone()
        for part in parts[1:]:
            total += part
        return total.to(tensor.device)

    def cat(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """The tensors of all ranks one after the other, in the order of the ranks."""
        if self.count == 1:
            return tensor
        return torch.cat(self.gather(tensor.detach().cpu()), dim=dim).to(tensor.device)

    def gather(self, value: T) -> list[T]:
        """The value of every rank, in their order. RankError, with its number, if one is gone."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        self._together(lambda: dist.all_gather_object(values, value, group=self.group))
        return values

    def of_first(self, make: Callable[[], T]) -> T:
        """What the first rank makes, on every rank; an error of edgewise that it ends in is raised on every rank too."""
        if self.count == 1:
            return make()
        outcome: list[Any] = [None]
        if self.first:
            try:
                outcome = [make()]
            except EdgewiseError as error:
                outcome = [error]
        root = dist.get_global_rank(self.group, 0) if self.group is not None else 0
        self._together(lambda: dist.broadcast_object_list(outcome, src=root, group=self.group))
        if isinstance(outcome[0], EdgewiseError):
            raise outcome[0]
        return outcome[0]

    def check_alike(self, facts: Mapping[str, Any]) -> None:
        """RankError if a rank was given something else than the first: what `facts` call it."""
        if self.count == 1:
            return
        of_first, *others = self.gather({name: str(value) for name, value in facts.items()})
        for number, of_other in enumerate(others, 1):
            if name := next((name for name in of_first if of_other.get(name) != of_first[name]), None):
                raise RankError(
                    f"rank {number} works on another {name} than rank 0: {of_other.get(name)} and {of_first[name]}; "
                    "start every rank with the same command, files and versions"
                )

    def _together(self, exchange: Callable[[], Any]) -> None:
        try:
            exchange()
        except RuntimeError as error:
            raise RankError(self._absent() or f"the ranks lost each other: {str(error).splitlines()[0]}") from None

    def _absent(self) -> str | None:
        """Which rank does not answer any more, and what it said last."""
        if self.store is None:
            return None
        goes_on = "; the same command with --resume goes on where the method keeps its state"
        try:
            self.store.set(f"alive/{self.number}", b"yes")
        except RuntimeError:
            return "rank 0 is gone" + goes_on
        for number in range(self.count):
            try:
                self.store.wait([f"alive/{number}"], ROLL_CALL)
            except RuntimeError:
                said = f": {self._said(number)}" if self._said(number) else ""
                return f"rank {number} is gone{said}{goes_on}"
        return None

    def _said(self, number: int) -> str:
        try:
            return self.store.get(f"error/{number}").decode() if self.store.check([f"error/{number}"]) else ""
        except RuntimeError:
            return ""

    def say(self, error: BaseException) -> None:
        """Leave word for the other ranks of what ends this one."""
        if self.store is not None and isinstance(error, Exception):
            try:
                self.store.set(f"error/{self.number}", f"{type(error).__name__}: {error}".encode())
            except RuntimeError:
                return

    def repeats(self, error: BaseException) -> bool:
        """Whether the first rank tells of it: it ends in the same error, or it is by its own that this rank has lost it."""
        if self.first or self.store is None:
            return False
        try:
            self.store.wait(["error/0"], ROLL_CALL)
        except RuntimeError:
            return False
        said = self._said(0)
        return bool(said) and (isinstance(error, RankError) or said == f"{type(error).__name__}: {error}")


_ALONE = Ranks()
_CURRENT: ContextVar[Ranks] = ContextVar("ranks", default=_ALONE)


def current() -> Ranks:
    """The ranks that work together here; one alone outside of `distributed`."""
    return _CURRENT.get()


@contextmanager
def working_as(ranks: Ranks) -> Iterator[None]:
    """Inside, these are the ranks that work together."""
    token = _CURRENT.set(ranks)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def alone() -> AbstractContextManager[None]:
    """Inside, this rank works by itself: for work of which each rank does a part of its own."""
    return working_as(_ALONE)


def split_or_refuse(total: int, what: str) -> slice:
    """The share that this rank has of `total` things; InvalidValue where there are fewer of them than ranks."""
    ranks = current()
    if total < ranks.count:
        raise InvalidValue(f"{total} {what} for {ranks.count} ranks: start no more ranks than there are {what}")
    return ranks.share(total)
