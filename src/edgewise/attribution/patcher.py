"""Patcher: what single edges of a batch do, each replaced alone; Patchers: where memory may not hold a batch whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from edgewise.attribution.fitting import fitting_replacer, noted_half, unless_too_large
from edgewise.engine.native import Continuation, mlp, native_attention, project
from edgewise.engine.record import Recording, record
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writes import expand
from edgewise.models.block import Block
from edgewise.pairs import Pairs
from edgewise.request import Batch, Request


@final
class Patchers:
    """Replaces single edges of one batch after the other, of each as many pairs at once as there is room for."""

    def __init__(self, request: Request) -> None:
        self.request, self.at_once = request, request.pairs_at_once
        self._replacer = fitting_replacer(request)
        self._pairs, self._kept = request.pairs, dict[int, Patcher]()

    def begin(self, pairs: Pairs) -> None:
        """The batch that is asked about from here on."""
        if pairs is not self._pairs:
            self._pairs = pairs
            self._kept.clear()

    def effects(self, reader: int, writers: Sequence[int] | None = None) -> Tensor:
        """As of a Patcher, summed over the batch; with half as many pairs at once where memory does not suffice."""
        while (found := unless_too_large(lambda: self._effects(reader, writers))) is None:
            self._kept.clear()
            self.at_once = noted_half(self.request, min(self.at_once, len(self._pairs)))
        return found

    def _effects(self, reader: int, writers: Sequence[int] | None) -> Tensor:
        parts = list(self._pairs.batches(self.at_once))
        return torch.stack([self._patcher(part, len(parts)).effects(reader, writers) for part in parts]).sum(dim=0)

    def _patcher(self, part: Pairs, parts: int) -> Patcher:
        """Kept for the next reader where the batch is one part."""
        if 0 in self._kept:
            return self._kept[0]
        patcher = Patcher.of(self.request.batch(part, self._replacer))
        if parts == 1:
            self._kept[0] = patcher
        return patcher


@final
@dataclass(frozen=True)
class Patcher:
    """Replaces single edges of one batch, recorded in `clean`. `deltas` [writer, token, d_model]: clean minus replacement.

    `projected`: what the projections of the layer at hand gave in the clean run.
    """

    batch: Batch
    clean: Recording
    deltas: Tensor
    rest: Continuation
    baseline: Tensor
    projected: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: Batch) -> Patcher:
        subject, pairs = batch.subject, batch.pairs
        clean = record(subject, pairs.clean, pairs.positions)
        flat = clean.writes.minus(batch.replacement.writes, subject.work_dtype).flat()
        tokens = len(flat.inputs)
        buffer = flat.inputs.new_empty(len(subject.graph.writers), tokens, subject.d_model)
        deltas = expand(subject, flat, slice(0, tokens), buffer)
        rest = Continuation(subject, pairs.positions, pairs.clean.shape[1])
        return cls(batch, clean, deltas, rest, batch.objective(clean.logits, clean.logits))

    @property
    def at_once(self) -> int:
        """How many edges are replaced, each alone, in one run."""
        return max(1, tiling_for(self.batch.subject.device).patched_tokens // self.deltas.shape[1])

    def effects(self, reader: int, writers: Sequence[int] | None = None) -> Tensor:
        """Effect of replacing each edge into `reader` alone, from all writers it reads or some; summed over the batch."""
        chosen = range(self.batch.subject.graph.reach(reader)) if writers is None else writers
        size = self.at_once
        chunks = (chosen[start : start + size] for start in range(0, len(chosen), size))
        return torch.cat([self._effects(reader, chunk) for chunk in chunks]).cpu()

    def _effects(self, reader: int, writers: Sequence[int]) -> Tensor:
        delta = self.deltas[_picks(writers)].unflatten(1, self.clean.final_in.shape[:2])
        layer, kind, slot = self.batch.subject.graph.place(reader)
        if kind == "logits":
            logits = self._into_logits(delta)
            return self._drops(logits, len(writers))
        delta = delta.to(self.batch.subject.blocks[layer].device)
        if kind == "mlp":
            logits = self._into_mlp(layer, delta)
        else:
            logits = self._into_attention(layer, slot, delta)
        return self._drops(logits, len(writers))

    def _drops(self, logits: Tensor, runs: int) -> Tensor:
        after = self.batch.objectives(logits.unflatten(0, (runs, -1)), self.clean.logits)
        return (self.baseline - after).double().sum(dim=1)

    def _into_logits(self, delta: Tensor) -> Tensor:
        stream = (self.clean.final_in - delta).to(self.batch.subject.dtype).flatten(0, 1)
        return self.batch.subject.unembed(self.rest.answers(stream))

    def _into_mlp(self, layer: int, delta: Tensor) -> Tensor:
        block, dtype = self.batch.subject.blocks[layer], self.batch.subject.dtype
        changed = mlp(block, (self.clean.mlp_in[layer] - delta).to(dtype).flatten(0, 1))
        leaving = self._leaving(layer) - self.clean.writes.mlp[layer]
        return self.rest.after_layer(
            layer, (leaving + torch.as_tensor(changed).unflatten(0, delta.shape[:2])).flatten(0, 1)
        )

    def _into_attention(self, layer: int, slot: int, delta: Tensor) -> Tensor:
        block, before = self.batch.subject.blocks[layer], self.clean.attention_in[layer]
        change = self.change_of_attention(block, layer, slot, delta)
        middle = (self._after_attention(block, layer) + change).flatten(0, 1)
        streams = before.expand(len(delta), *before.shape).flatten(0, 1)
        if layer == self.batch.subject.graph.layers - 1:
            return self.rest.after_last_attention(streams, middle)
        return self.rest.after_layer(layer, self.rest.after_attention(layer, streams, middle))

    def change_of_attention(self, block: Block, layer: int, slot: int, delta: Tensor) -> Tensor:
        """How the attention's output changes when one q, k or v reader gets less `delta`: [writer, example, position, d]."""
        projections, writes = block.projections, self.clean.writes
        groups, heads = projections.running(slot)
        slots = heads + [side * projections.kv_heads + projections.heads + group for side in (0, 1) for group in groups]
        before, running = self.clean.attention_in[layer], _picks(heads)
        clean = self._projected(layer, heads, groups).unsqueeze(0).repeat(len(delta), 1, 1, 1, 1)
        alone = slice(slot, slot + 1)
        clean[:, :, :, slots.index(slot)] = project(block, (before - delta).to(before.dtype), alone)[..., 0, :]
        context = self.batch.subject.context(before.shape[1])[layer]
        z = native_attention(self.batch.subject, block, context, clean.flatten(0, 1), groups)
        change = z.view(*delta.shape[:3], len(heads), -1) - writes.raw[layer][:, :, running]
        if block.attention_post is None:
            return torch.einsum("wbthe,hed->wbtd", change, block.output_weight[running].to(change.dtype))
        raw = writes.raw[layer].expand(len(delta), *writes.raw[layer].shape).clone()
        raw[..., running, :] += change
        old = block.attention_added(block.output(writes.raw[layer].flatten(-2)))
        return block.attention_added(block.output(raw.flatten(-2))) - old

    def _projected(self, layer: int, heads: list[int], groups: list[int]) -> Tensor:
        """What the projections gave in the clean run to these heads and kv-heads: [example, position, slot, d_head]."""
        block = self.batch.subject.blocks[layer]
        if layer not in self.projected:
            self.projected.clear()  # readers come layer by layer
            self.projected[layer] = project(block, self.clean.attention_in[layer], slice(None))
        of_each = self.projected[layer].split([block.projections.heads, *[block.projections.kv_heads] * 2], dim=2)
        return torch.cat(
            [of_each[0][:, :, _picks(heads)], *(part[:, :, _picks(groups)] for part in of_each[1:])], dim=2
        )

    def _after_attention(self, block: Block, layer: int) -> Tensor:
        """The clean stream between the attention of a layer and its MLP."""
        if self.batch.subject.graph.mlps and not self.batch.subject.graph.parallel:
            return self.clean.mlp_in[layer]
        leaving = self._leaving(layer)
        return leaving - self.clean.writes.mlp[layer] if self.batch.subject.graph.mlps else leaving

    def _leaving(self, layer: int) -> Tensor:
        """The clean stream that leaves a layer."""
        last = layer == self.batch.subject.graph.layers - 1
        leaving = self.clean.final_in if last else self.clean.attention_in[layer + 1]
        return leaving.to(self.batch.subject.blocks[layer].device)


def _picks(places: Sequence[int]) -> slice | list[int]:
    """How to take these places of an axis: consecutive ones as a view."""
    if [*places] == [*range(places[0], places[0] + len(places))]:
        return slice(places[0], places[0] + len(places))
    return [*places]
