"""Versions: what has changed in some of the trials of a batch, held once where trials share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from edgewise.models.projections import Projections


class Versions(NamedTuple):
    """Something as it is in each trial from the `first` that changes it: `values` [trial, ..].

    The last one stays, or if `returns` it is after that as it was before the first.
    """

    first: int
    values: Tensor
    returns: bool = False

    @property
    def stop(self) -> int:
        """The first trial without a value of its own."""
        return self.first + len(self.values)

    def at(self, trial: int) -> Tensor | None:
        """As it is in a trial; None if that is as before the first."""
        if trial < self.first or (self.returns and trial >= self.stop):
            return None
        return self.values[min(trial - self.first, len(self.values) - 1)]

    def until(self, stop: int) -> Versions:
        """The same with values of their own for all trials before `stop`, unless it is then as it was."""
        if self.returns or stop <= self.stop:
            return self
        last = self.values[-1:].expand(stop - self.stop, *self.values.shape[1:])
        return Versions(self.first, torch.cat([self.values, last]))

    def everywhere(self, trials: int, before: Tensor) -> Tensor:
        """Values for all trials, or one if that stands for all. `before` [1, ..]: as it was before the first."""
        if not self.first and len(self.values) == 1 and not self.returns:
            return self.values
        values = self.until(trials).values[: trials - self.first]
        counts = (self.first, trials - self.first - len(values))
        earlier, later = (before.expand(count, *values.shape[1:]) for count in counts)
        return torch.cat([earlier, values, later]) if any(counts) else values


@final
@dataclass(frozen=True)
class Group:
    """Heads that share keys and values. `slots`: theirs, then k and v; `changed`: slot → what its projection gives."""

    heads: list[int]
    slots: list[int]
    changed: dict[int, Versions]

    @classmethod
    def of(cls, projections: Projections, changed: dict[int, Versions]) -> list[Group]:
        """The groups of one layer in which something changed, out of all that did."""
        groups: dict[int, Group] = {}
        for slot, versions in changed.items():
            group, heads = projections.group_of(slot)
            shared = [projections.heads + group, projections.heads + projections.kv_heads + group]
            groups.setdefault(group, cls(heads, [*heads, *shared], {})).changed[slot] = versions
        return list(groups.values())

    @property
    def first(self) -> int:
        """The first trial that changes something."""
        return min(versions.first for versions in self.changed.values())

    @property
    def count(self) -> int:
        """In how many versions the heads have to run: where some of what changes returns and some does not, one more."""
        stop = max(versions.stop + (versions.returns and not self.returns) for versions in self.changed.values())
        return stop - self.first

    @property
    def returns(self) -> bool:
        """Whether everything is as before after the last version."""
        return all(versions.returns for versions in self.changed.values())

    @property
    def served(self) -> list[int]:
        """The heads whose result changes: all of them where k or v does."""
        return [head for head in self.heads if head in self.changed or max(self.changed) > max(self.heads)]

    def fill(self, out: Tensor, last: Tensor, tokens: Callable[[int], Tensor]) -> None:
        """Put what the projections give into `out` [version, token, slot, d_head].

        `last` [slot, token, d_head]: what they gave before; `tokens`: at which tokens of a slot that has changed.
        """
        for place, slot in enumerate(self.slots):
            out[:, :, place] = last[slot]
            if slot in self.changed:
                first, values, _ = self.changed[slot].until(self.first + self.count)
                own = out[first - self.first :, :, place][: len(values)]
                own.index_copy_(1, tokens(slot), values)
