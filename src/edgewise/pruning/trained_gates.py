"""TrainedGates: what training leaves, and the loss of any circuit on the data it was trained on.

Circuits are compared on a sample of the pairs, in batches as large as is cheap: in small models calls cost more than what
they compute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from typing import final

import torch
from torch import Tensor

from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.tiling import Tiling, tiling_for
from edgewise.engine.writer_buffer import Workspace
from edgewise.pruning.batch_cache import BatchCache, CleanBatch
from edgewise.ranks import current
from edgewise.store.checkpoint import Checkpoint


@final
@dataclass(frozen=True)
class TrainedGates:
    """The trained `logits` [gate] of the gates on `candidates`, and the data they were trained on.

    The `checkpoint` stays until `done`, so that what is interrupted between the two goes on from here.
    """

    logits: Tensor
    candidates: Tensor
    feed: BatchCache
    checkpoint: Checkpoint
    workspace: Workspace

    @cached_property
    def sample(self) -> BatchCache:
        """The pairs that circuits are compared on: those of all batches, or of some spread over many."""
        count, size = min(self._tiling.sample_batches, len(self.feed)), self.feed.request.batch_size
        rows = torch.arange(len(self.feed.request.pairs)).split(size)
        chosen = [rows[number * len(self.feed) // count] for number in range(count)]
        return self.feed.regrouped(torch.cat(chosen), self._together)

    @torch.no_grad()
    def loss(self, mask: Tensor) -> float:
        """The metric, lower is better, with the edges of `mask`, bool [writer, reader], over all pairs."""
        total = self.feed.fitting(lambda: sum(float(of.loss(of.run(mask.float()))) * of.whole for of in self.feed))
        return math.fsum(current().gather(total)) / len(self.feed.request.pairs)

    @torch.no_grad()
    def losses(self, masks: Tensor) -> list[float]:
        """The loss over `sample` of several circuits run together, bool [circuit, writer, reader]."""

        def sums(some: Tensor) -> Tensor:
            total = torch.zeros(len(some))
            for ready in self.sample:
                logits = self._run(ready, some.float(), some.any(dim=0))
                total += torch.stack([ready.loss(of_circuit) for of_circuit in logits]).cpu() * ready.whole
            return total

        together = len(masks) if self.feed.ample else max(1, self.feed.at_once // self.sample.at_once)
        total = torch.cat([self.sample.fitting(partial(sums, some)) for some in masks.split(together)])
        return (current().sum(total) / len(self.sample.rows)).tolist()

    def slope(self, mask: Tensor, among: Tensor) -> Tensor:
        """d loss / d mask [writer, reader] at a circuit, over `sample`, for the edges `among`."""

        def sums() -> Tensor:
            total = torch.zeros(mask.shape)
            for ready in self.sample:
                leaf = mask.float().requires_grad_()
                with torch.enable_grad():
                    loss = ready.loss(self._run(ready, leaf, among))
                total += torch.autograd.grad(loss, leaf)[0] * ready.whole
            return total

        return current().sum(self.sample.fitting(sums)) / len(self.sample.rows)

    def done(self) -> None:
        """The run is complete: its checkpoint is no longer needed."""
        self.checkpoint.remove()

    @property
    def _tiling(self) -> Tiling:
        return tiling_for(self.feed.request.subject.device)

    @property
    def _together(self) -> int:
        """How many pairs run together: a batch, or as many batches as are small together."""
        request = self.feed.request
        subject, size = request.subject, request.batch_size
        row = request.pairs.clean.shape[1] * subject.d_model * torch.finfo(subject.work_dtype).bits // 8
        return size * max(1, self._tiling.sample_bytes // (len(subject.graph.writers) * row * size))

    def _run(self, ready: CleanBatch, mask: Tensor, among: Tensor) -> Tensor:
        batch, kept = ready.batch, Mask(mask, candidates=among)
        pairs = batch.pairs
        return masked_forward(
            batch.subject, pairs.clean, pairs.positions, kept, batch.replacement, workspace=self.workspace
        )
