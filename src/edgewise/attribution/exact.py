"""Exact scores: each edge is replaced alone and the metric is measured.

One edge changes the input of one node; the rest of the run is native. So the changed node is computed again for many
writers at once, on the batch axis, and the model finishes each of these runs from that layer on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution.base import Batch, Request, ScoringMethod
from edgewise.engine.native import Continuation, mlp, native_attention, project
from edgewise.engine.record import Recording, record
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writes import expand
from edgewise.models.block import Block
from edgewise.models.hooks import steady
from edgewise.options import option
from edgewise.ranks import current
from edgewise.store.checkpoint import Checkpoint, Tensors


@final
@dataclass(frozen=True)
class Exact(ScoringMethod):
    """Replace every edge alone and measure the drop of the metric: the oracle that other methods predict.

        score(w → r) = metric(clean) − metric(clean with that one edge replaced),   mean over examples

    The cost is about half a forward pass for each edge. With a checkpoint file, an interrupted run goes on where it
    stopped.

    Effects of single edges are measured in Conmy et al. 2023 (arXiv:2304.14997), among others.
    """

    checkpoint: str | None = option(None, "a file that keeps what is done; an interrupted run goes on from it")
    name: ClassVar[str] = "exact"
    summary: ClassVar[str] = "every edge replaced alone and measured, the oracle"
    cost: ClassVar[str] = "about half a forward for each edge"
    paper: ClassVar[str] = "https://arxiv.org/abs/2304.14997"

    def scores(self, request: Request) -> Tensor:
        graph = request.subject.graph
        path = Path(self.checkpoint) if self.checkpoint else None
        checkpoint = Checkpoint(path, {**request.key, "batch_size": request.batch_size})
        saved = checkpoint.read() or _state(torch.zeros(graph.edge_mask.shape, dtype=torch.float64), 0)
        sums, done = saved["sums"], int(saved["done"])
        units = request.batches * len(graph.readers)
        with checkpoint.kept_on_the_way_out(), torch.no_grad(), steady(request.subject.model):
            for unit, (reader, effects) in enumerate(
                request.track(self._units(request, done), units, f"patching {graph.n_edges:,} edges one by one")
            ):
                if effects is not None:
                    sums[: len(effects), reader] += effects
                    checkpoint.keep(partial(_state, sums.clone(), unit + 1))
        checkpoint.remove()
        return sums / len(request.pairs)

    def _units(self, request: Request, done: int) -> Iterator[tuple[int, Tensor | None]]:
        """(reader, effects of the writers it reads, summed over a batch), None for units that were done before.

        Each rank patches one reader while the others patch those next to it.
        """
        readers = len(request.subject.graph.readers)
        for number, batch in enumerate(request.each_batch()):
            if (number + 1) * readers <= done:
                yield from ((reader, None) for reader in range(readers))
                continue
            patcher, ranks = Patcher.of(batch), current()
            for first in range(0, readers, ranks.count):
                together = range(first, min(first + ranks.count, readers))
                if number * readers + together[-1] < done:
                    yield from ((reader, None) for reader in together)
                    continue
                mine = patcher.effects(together[ranks.number]) if ranks.number < len(together) else None
                for reader, effects in zip(together, ranks.gather(mine), strict=False):
                    yield reader, None if number * readers + reader < done else effects


def effects_of(request: Request, edges: Sequence[str]) -> Tensor:
    """The exact effect of some edges alone, float64 [edge], in the order given: what `exact` scores them by."""
    graph, by_reader = request.subject.graph, defaultdict(list)
    places = [graph.edge_index(edge) for edge in edges]
    for number, (writer, reader) in enumerate(places):
        by_reader[reader].append((number, writer))
    effects = torch.zeros(len(edges), dtype=torch.float64)
    mine = request.share()
    units = ((patcher, reader) for patcher in map(Patcher.of, mine.each_batch()) for reader in sorted(by_reader))
    with request.subject.turn, torch.no_grad(), steady(request.subject.model):
        label = f"patching {len(edges):,} edges one by one"
        for patcher, reader in request.track(units, mine.batches * len(by_reader), label):
            numbers, writers = zip(*by_reader[reader], strict=True)
            effects[list(numbers)] += patcher.effects(reader, writers)
    return current().sum(effects) / len(request.pairs)


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


def _state(sums: Tensor, done: int) -> Tensors:
    """Sums [writer, reader] over the `done` first units of work."""
    return {"sums": sums, "done": torch.tensor(done)}
