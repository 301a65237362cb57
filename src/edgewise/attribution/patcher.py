"""Patcher: what edges and paths of a batch do, each replaced alone; Patchers: where memory may not hold a batch whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from edgewise.attribution.fitting import fitting_replacer, noted_half, unless_too_large
from edgewise.engine.native import Continuation, mlp, native_attention, project
from edgewise.engine.record import Recording, post_scale, record
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writes import expand
from edgewise.models.block import Block
from edgewise.pairs import Pairs
from edgewise.reachability import Path
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
        return self._summed(lambda patcher: patcher.effects(reader, writers))

    def effect_of_path(self, path: Path) -> Tensor:
        """As of a Patcher, summed over the batch: [1]."""
        return self._summed(lambda patcher: patcher.effect_of_path(path))

    def _summed(self, ask: Callable[[Patcher], Tensor]) -> Tensor:
        while (found := unless_too_large(lambda: self._of_parts(ask))) is None:
            self._kept.clear()
            self.at_once = noted_half(self.request, min(self.at_once, len(self._pairs)))
        return found

    def _of_parts(self, ask: Callable[[Patcher], Tensor]) -> Tensor:
        parts = list(self._pairs.batches(self.at_once))
        return torch.stack([ask(self._patcher(part, len(parts))) for part in parts]).sum(dim=0)

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

    def effect_of_path(self, path: Path) -> Tensor:
        """Effect of replacing one path alone, [1], summed over the batch.

        Its first writer is replaced for its first reader. Each node on the way is computed again with what it gets over the
        path, and everything else as in the clean run; what changes by that in what it writes goes on along the path alone.
        """
        delta = self._delta([path[0][0]])
        for (_, reader), (writer, _) in pairwise(path):
            delta = self._passed_on(reader, writer, delta)
        return self._into(path[-1][1], delta).cpu()

    def _passed_on(self, reader: int, writer: int, delta: Tensor) -> Tensor:
        """How much less a writer writes where its reader gets less `delta`: [1, example, position, d_model]."""
        graph = self.batch.subject.graph
        layer, kind, slot = graph.place(reader)
        block, home = self.batch.subject.blocks[layer], delta.device
        delta = delta.to(block.device)
        if kind != "mlp":
            return self._less_of_head(block, layer, slot, writer - graph.head_writers(layer).start, delta).to(home)
        changed = torch.as_tensor(
            mlp(block, (self.clean.mlp_in[layer] - delta).to(self.batch.subject.dtype).flatten(0, 1))
        )
        return (self.clean.writes.mlp[layer] - changed.unflatten(0, delta.shape[:2])).to(delta.dtype).to(home)

    def _less_of_head(self, block: Block, layer: int, slot: int, head: int, delta: Tensor) -> Tensor:
        heads, change = self._change_of_heads(block, layer, slot, delta)
        raw, weight = self.clean.writes.raw[layer], block.output_weight[head].to(delta.dtype)
        if block.attention_post is None:
            return -change[..., heads.index(head), :].to(delta.dtype) @ weight
        changed = raw.expand(len(delta), *raw.shape).clone()
        changed[..., head, :] += change[..., heads.index(head), :]
        scale = post_scale(block, block.output(changed.flatten(-2)))
        less = self.clean.writes.z[layer][..., head, :] - changed[..., head, :] * scale
        return less.to(delta.dtype) @ weight

    def _delta(self, writers: Sequence[int]) -> Tensor:
        """[writer, example, position, d_model]."""
        return self.deltas[_picks(writers)].unflatten(1, self.clean.final_in.shape[:2])

    def _effects(self, reader: int, writers: Sequence[int]) -> Tensor:
        return self._into(reader, self._delta(writers))

    def _into(self, reader: int, delta: Tensor) -> Tensor:
        """Effect of each `delta` [run, example, position, d_model] less at a reader, the rest of the model following."""
        layer, kind, slot = self.batch.subject.graph.place(reader)
        if kind == "logits":
            return self._drops(self._into_logits(delta), len(delta))
        delta = delta.to(self.batch.subject.blocks[layer].device)
        if kind == "mlp":
            logits = self._into_mlp(layer, delta)
        else:
            logits = self._into_attention(layer, slot, delta)
        return self._drops(logits, len(delta))

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
        heads, change = self._change_of_heads(block, layer, slot, delta)
        running, writes = _picks(heads), self.clean.writes
        if block.attention_post is None:
            return torch.einsum("wbthe,hed->wbtd", change, block.output_weight[running].to(change.dtype))
        raw = writes.raw[layer].expand(len(delta), *writes.raw[layer].shape).clone()
        raw[..., running, :] += change
        old = block.attention_added(block.output(writes.raw[layer].flatten(-2)))
        return block.attention_added(block.output(raw.flatten(-2))) - old

    def _change_of_heads(self, block: Block, layer: int, slot: int, delta: Tensor) -> tuple[list[int], Tensor]:
        """The heads that have to run, and how what they give changes: [writer, example, position, head, d_head]."""
        projections = block.projections
        groups, heads = projections.running(slot)
        slots = heads + [side * projections.kv_heads + projections.heads + group for side in (0, 1) for group in groups]
        before = self.clean.attention_in[layer]
        clean = self._projected(layer, heads, groups).unsqueeze(0).repeat(len(delta), 1, 1, 1, 1)
        alone = slice(slot, slot + 1)
        clean[:, :, :, slots.index(slot)] = project(block, (before - delta).to(before.dtype), alone)[..., 0, :]
        context = self.batch.subject.context(before.shape[1])[layer]
        z = native_attention(self.batch.subject, block, context, clean.flatten(0, 1), groups)
        return heads, z.view(*delta.shape[:3], len(heads), -1) - self.clean.writes.raw[layer][:, :, _picks(heads)]

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
