"""Feed: the batches of an optimisation with all that no mask changes, made once and held as long as they fit."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, final

import torch
from torch import Tensor

from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import PairsError
from edgewise.ranks import current
from edgewise.request import Batch, Request


@final
@dataclass(frozen=True)
class CleanBatch:
    """The share that a rank has of a batch, with its replacement, and the clean model's logits [example, vocab] on it.

    `whole`: pairs of the batch; `rows`: those of them that are here. A rank for which none are left has the first, and `rows`
    is empty: what it measures counts nothing.
    """

    batch: Batch
    clean: Tensor
    whole: int
    rows: slice

    def own(self, mask: Tensor) -> Tensor:
        """What is here of a mask for each example of the whole batch; a mask of all is that of each."""
        return mask if mask.ndim == 2 else mask[self.rows if self.rows.stop > self.rows.start else slice(1)]

    def run(self, mask: Tensor, workspace: Workspace | None = None) -> Tensor:
        """Logits [example, vocab] under a mask [writer, reader], or one for each example, [example, writer, reader].

        What the masks close is not computed.
        """
        batch, pairs = self.batch, self.batch.pairs
        masks = mask[None]
        open_ = (masks.detach() != 0).flatten(0, -3).any(dim=0).cpu()
        mask_of_all = Mask(masks, candidates=open_)
        return masked_forward(
            batch.subject, pairs.clean, pairs.positions, mask_of_all, batch.replacement, workspace=workspace
        )[0]

    def loss(self, logits: Tensor) -> Tensor:
        """What this share adds to the mean over the whole batch of the metric, lower = better: a scalar."""
        counts = 1.0 if self.rows.stop > self.rows.start else 0.0
        return -self.batch.objective(logits, self.clean).sum() * counts / self.whole


@final
class BatchCache:
    """The batches of a request by number; `rows` are its pairs."""

    def __init__(self, request: Request) -> None:
        self.request = request
        if not len(request.pairs):
            raise PairsError("there are no pairs to train on")
        self.rows = torch.arange(len(request.pairs))
        self.batches = list(request.pairs.batches(request.batch_size))
        self.make = request.maker()
        self.held: dict[int, CleanBatch] = {}
        self.room = tiling_for(request.subject.device).held_bytes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[CleanBatch]:
        return (self[number] for number in range(len(self)))

    def regrouped(self, rows: Tensor, size: int) -> BatchCache:
        """A feed of only these pairs of the request, so many in a batch, closed edges carrying what they carry here."""
        other = copy(self)
        other.rows, other.batches, other.held = rows, list(self.request.pairs[rows].batches(size)), {}
        return other

    def __getitem__(self, number: int) -> CleanBatch:
        if number in self.held:
            return self.held[number]
        whole = self.batches[number]
        rows = current().share(len(whole))
        with torch.no_grad():
            batch = self.make(whole[rows] if rows.stop > rows.start else whole[:1])
            clean = self.request.subject.logits(batch.pairs.clean, batch.pairs.positions)
        ready = CleanBatch(batch, clean, len(whole), rows)
        size = sum(tensor.untyped_storage().nbytes() for tensor in _tensors(ready))
        if size <= self.room:
            self.held[number], self.room = ready, self.room - size
        return ready


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
