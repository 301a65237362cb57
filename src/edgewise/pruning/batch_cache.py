"""BatchCache: the batches of an optimisation with all that no mask changes, made once and held as long as they fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from edgewise.attribution.fitting import fitting_replacer, noted_half, unless_too_large
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.node_run import node_run
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writer_buffer import Workspace
from edgewise.ranks import current
from edgewise.request import Batch, Request

T = TypeVar("T")


@final
@dataclass(frozen=True)
class CleanBatch:
    """Pairs of a batch that run at once, with their replacement, and the clean model's logits [example, vocab] on them.

    `whole`: how many pairs the batch has; `rows`: which of them are here.
    """

    batch: Batch
    clean: Tensor
    whole: int
    rows: slice

    def own(self, mask: Tensor) -> Tensor:
        """What is here of a mask for each example of the whole batch; a mask of all is that of each."""
        return mask if mask.ndim < 3 else mask[self.rows]

    def run(self, mask: Tensor, workspace: Workspace | None = None, among: Tensor | None = None) -> Tensor:
        """Logits [example, vocab] under a mask [writer, reader], or one for each example, [example, writer, reader].

        Only the edges `among`, bool [writer, reader], have a gradient; None: those that a mask leaves open. Others are not
        computed.
        """
        batch, pairs = self.batch, self.batch.pairs
        masks = mask[None]
        open_ = (masks.detach() != 0).flatten(0, -3).any(dim=0) if among is None else among
        mask_of_all = Mask(masks, candidates=open_.cpu())
        return masked_forward(
            batch.subject, pairs.clean, pairs.positions, mask_of_all, batch.replacement, workspace=workspace
        )[0]

    def run_nodes(self, gates: Tensor) -> Tensor:
        """Logits [example, vocab] where whole writers are kept as far as `gates` [writer] say."""
        batch, pairs = self.batch, self.batch.pairs
        return node_run(batch.subject, pairs.clean, pairs.positions, gates, batch.replacement)

    def loss(self, logits: Tensor) -> Tensor:
        """What these pairs add to the mean over the whole batch of the metric, lower = better: a scalar."""
        return -self.batch.objective(logits, self.clean).sum() / self.whole


@final
class BatchCache:
    """The batches of a request by number; `rows` are its pairs. `at_once`: how many pairs of a batch run together.

    Of several ranks each has its share of every batch.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.rows = torch.arange(len(request.pairs))
        self.batches = list(request.pairs.batches(request.batch_size))
        self.at_once = request.pairs_at_once
        self.replacer = fitting_replacer(request)
        self.held: dict[tuple[int, int], CleanBatch] = {}
        self.storages: dict[int, int] = {}
        self.room = tiling_for(request.subject.device).held_bytes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[CleanBatch]:
        return (part for number in range(len(self)) for part in self.parts(number))

    def size(self, number: int) -> int:
        """How many pairs a batch has."""
        return len(self.batches[number])

    def parts(self, number: int) -> Iterator[CleanBatch]:
        """The pairs of a batch that are this rank's, so many as run at once after the other."""
        share = current().share(self.size(number))
        for first in range(share.start, share.stop, self.at_once):
            yield self._part(number, slice(first, min(share.stop, first + self.at_once)))

    def fitting(self, work: Callable[[], T]) -> T:
        """What `work` makes of the batches; with half as many pairs at once, from here on, where memory does not suffice."""
        while (found := unless_too_large(work)) is None:
            self.release()
            self.room = 0
            self.at_once = noted_half(self.request, min(self.at_once, max(map(len, self.batches))))
        return found

    def part(self, rows: Tensor, size: int) -> BatchCache:
        """Only these pairs of the request, so many in a batch, with closed edges carrying what they carry here.

        Memory for what is held is shared out by the number of pairs.
        """
        other = copy(self)
        other.rows, other.batches = rows, list(self.request.pairs[rows].batches(size))
        other.at_once = min(size, self.request.at_once or size)
        other.room = self.room * len(rows) // len(self.rows)
        other.release()
        return other

    @torch.no_grad()
    def loss(self, mask: Tensor, workspace: Workspace) -> float:
        """The metric, lower is better, with the edges of `mask`, bool [writer, reader], over all pairs."""
        total = self.fitting(lambda: sum(float(of.loss(of.run(mask.float(), workspace))) * of.whole for of in self))
        return math.fsum(current().gather(total)) / len(self.rows)

    def release(self) -> None:
        """Let go of what is held."""
        self.held, self.storages = {}, {}

    def _part(self, number: int, rows: slice) -> CleanBatch:
        name, whole = (number, rows.start), self.batches[number]
        if name in self.held:
            return self.held[name]
        with torch.no_grad():
            batch = self.request.batch(whole[rows], self.replacer)
            clean = self.request.subject.logits(batch.pairs.clean, batch.pairs.positions)
            ready = CleanBatch(batch, clean, len(whole), rows)
            with_this = {**self.storages, **_storages(ready)}
        if sum(with_this.values()) <= self.room:
            self.held[name], self.storages = ready, with_this
        return ready


@torch.no_grad()
def held_bytes(request: Request) -> int:
    """What the batches of a request take if all are held."""
    return sum({place: size for ready in BatchCache(request) for place, size in _storages(ready).items()}.values())


def _storages(ready: CleanBatch) -> dict[int, int]:
    """Where the memory lies that it takes to hold, and how many bytes."""
    storages = [tensor.untyped_storage() for tensor in _tensors([ready, ready.batch.replacement])]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors of a dataclass and of what is in it, the model's own left out."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _tensors(item)
    elif is_dataclass(value):
        for field in fields(value):
            if field.name != "subject":
                yield from _tensors(getattr(value, field.name))
