"""masked_forward: THE primitive. A run of the model in which every edge is kept, replaced, or anything between.

Each reader r of the residual stream gets an input of its own,

    x_r = base_r + Σ_w mask[w, r] · delta_w,        delta_w = neurons_w ∘ (written_w − replaced_w),

to which the model's own norm, that head's projection rows, the native attention module (with the projections' outputs
forced), the native MLP and the native unembedding are applied. What comes out is written_w of the writers behind r.

- base_r is the replaced stream: what r gets where all its edges are replaced (`Replacement`).
- written_w is what the writer w adds to the stream in this run, replaced_w what it adds in the replacement.
- neurons_w weighs the coordinates of a write, for all readers alike; without a mask of neurons it is 1.

Mask 1 everywhere gives the clean run, 0 the replaced one. The deltas lie in a `WriterBuffer`, from which `Reads` makes x_r.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.engine.live_nodes import LiveNodes
from edgewise.engine.mask import Mask
from edgewise.engine.native import native_attention
from edgewise.engine.plan import make_plan
from edgewise.engine.projected import projections
from edgewise.engine.read_plan import Unchanged
from edgewise.engine.reads import Reads, Tokens, WalkedLayer
from edgewise.engine.record import post_scale
from edgewise.engine.replacement import Replacement
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writer_buffer import Workspace, WriterBuffer
from edgewise.graph import Graph
from edgewise.models.finite import finite
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject


def masked_forward(
    subject: Subject,
    tokens: Tensor,
    positions: Tensor,
    mask: Tensor | Mask,
    replacement: Replacement,
    *,
    workspace: Workspace | None = None,
) -> Tensor:
    """Logits [example, vocab] at the answer positions under `mask` [writer, reader], or a Mask that says more.

    For several masks [mask, writer, reader] the result is [mask, example, vocab], and so it is for masks of which every
    example has its own, [mask, example, writer, reader]. `tokens` [example, position] is the clean batch. Differentiable in
    the mask. Work is done only where the mask's candidates may be non-zero. A node on no path from an input writer to
    `logits` outputs its replacement.
    """
    given = mask if isinstance(mask, Mask) else Mask(mask)
    masks = given.stacked(subject, len(tokens))
    candidates = masks.candidate_edges(subject.graph)
    tiling = tiling_for(subject.device)
    with steady(subject.model):
        with torch.no_grad():
            inputs = subject.embed(tokens)
        plan = make_plan(
            subject.graph,
            candidates,
            heads_share_norm=subject.heads_share_norm,
            together=subject.kv_heads_together,
            whole=tiling.whole,
        )
        shape = (len(masks.edges), len(plan.computed), tokens.numel(), subject.d_model)
        deltas = WriterBuffer.empty(workspace or Workspace(), shape, inputs.to(subject.work_dtype), tiling)
        reads = Reads.of(plan, masks, deltas, Tokens.of(tokens, positions))
        walk = _Walk(subject, reads, replacement, LiveNodes.of(subject, plan, masks, replacement))
        logits = finite(walk.run(inputs), subject.name)
    return logits if given.several else logits[0]


@final
@dataclass(frozen=True)
class _Walk:
    """One masked run: the layers walked from input to logits, each node's delta put into the buffer as it is computed."""

    subject: Subject
    reads: Reads
    replacement: Replacement
    live: LiveNodes

    @property
    def graph(self) -> Graph:
        return self.subject.graph

    @property
    def mask(self) -> Mask:
        return self.reads.mask

    def run(self, inputs: Tensor) -> Tensor:
        """Logits [mask, example, vocab] for what the input writers write: [example, position, input, d_model]."""
        self._put_inputs(inputs)
        contexts = self.subject.context(inputs.shape[1])
        for number, (plan, block) in enumerate(zip(self.reads.plan.layers, self.subject.blocks, strict=True)):
            layer = WalkedLayer(number, plan, block, contexts[number])
            handed_on = self._attention(layer) if plan.heads else None
            if plan.mlp:
                self._mlp(layer, handed_on)
        logits = self._logits()
        self.reads.deltas.close()
        return logits

    def _put_inputs(self, inputs: Tensor) -> None:
        written = inputs.to(self.subject.work_dtype)
        delta = written - self.replacement.writes.inputs.to(written.dtype)
        by_writer = delta.flatten(0, 1).transpose(0, 1).expand(len(self.mask.edges), -1, -1, -1)
        self._put(0, self._neurons_of(by_writer, range(by_writer.shape[1])))

    # -- the three kinds of readers ---------------------------------------------------------------------------------

    def _attention(self, layer: WalkedLayer) -> Tensor | None:
        """Run the heads; what is handed on to the MLP, [mask, 1, token, d_model], if anything is."""
        block, plan = layer.block, layer.plan
        base = self.reads.base(self.replacement.attention_in[layer.number], None)
        outputs, handed_on = projections(self.reads, layer, self.live, base, self.subject.dtype)
        shape = self.reads.tokens.shape
        by_token = outputs.transpose(1, 2).reshape(-1, shape[1], *outputs.shape[1:2], outputs.shape[3])
        z = native_attention(self.subject, block, layer.context, by_token, plan.groups)
        z = z.view(len(self.mask.edges), *shape, len(plan.heads), -1)
        heads = self.reads.plan.picks(plan.heads, z.device)
        replaced = self.replacement.writes.z[layer.number].to(z)[..., heads, :]
        first = self.graph.head_writers(layer.number).start
        writers = [first + head for head in plan.heads]
        if block.attention_post is not None:
            z = z * self._post_scale(layer, writers, z)
        delta = (z - replaced).flatten(1, 2).transpose(1, 2)
        delta = self.live.zero_dead(delta, writers)
        weight = self._output_weight(layer)
        # What a head writes is its weight's: a coordinate that is not kept is a column of it.
        self._put(
            first,
            delta.to(self.reads.deltas.rows.dtype),
            weight if self.mask.neurons is None else self._neurons_of(weight(), writers),
        )
        return handed_on

    def _mlp(self, layer: WalkedLayer, handed_on: Tensor | None) -> None:
        """Run the MLP; `handed_on` is what it gets from writers before its own layer, if that has been read already."""
        reads, writer = self.reads, self.graph.mlp_writer(layer.number)
        tokens = reads.tokens.answers if layer.plan.mlp_late else None
        base = reads.base(self.replacement.mlp_in[layer.number], tokens)
        first = 0 if handed_on is None else self.graph.head_writers(layer.number).start
        x, _ = reads.read([self.graph.mlp_reader(layer.number)], base, tokens, Unchanged(), first_writer=first)
        x = (x if handed_on is None else x + handed_on)[:, 0]
        written = layer.block.mlp_write(x.to(self.subject.dtype)).to(x.device)
        replaced = reads.base(self.replacement.writes.mlp[layer.number], tokens)
        if tokens is None and self.mask.neurons is None and self.live.on_path is None:
            reads.deltas.put_difference(reads.plan.rows_before(writer), written[:, None], replaced)
            return
        delta = self.live.zero_dead((written.to(x.dtype) - replaced)[:, None], [writer])
        if tokens is not None:
            full = delta.new_zeros(*delta.shape[:2], reads.deltas.rows.shape[2], delta.shape[3])
            delta = full.index_copy(2, tokens, delta)
        self._put(writer, self._neurons_of(delta, [writer]))

    def _logits(self) -> Tensor:
        answers = self.reads.tokens.answers
        base = self.reads.base(self.replacement.final_in, answers)
        x, _ = self.reads.read([len(self.graph.readers) - 1], base, answers, Unchanged())
        return self.subject.unembed(x[:, 0].to(self.subject.dtype))

    # -- what heads write -------------------------------------------------------------------------------------------

    def _output_weight(self, layer: WalkedLayer) -> Callable[[], Tensor]:
        """What gives the output weights of the heads that run: [head, d_head, d_model]."""
        rows, whole = self.reads.deltas.rows, layer.block.output_weight_later()
        # Made now: the backward pass asks again, and should have nothing to bring to the device.
        heads = self.reads.plan.picks(layer.plan.heads, layer.block.device or rows.device)
        return lambda: whole().to(rows.dtype)[heads]

    def _post_scale(self, layer: WalkedLayer, writers: list[int], z: Tensor) -> Tensor:
        """The scale of a norm after attention, from the sum of all heads of this run: [mask, example, position, 1, 1]."""
        heads = self.reads.plan.picks(layer.plan.heads, z.device)
        raw = self.replacement.writes.raw[layer.number].to(z).expand(*z.shape[:3], -1, -1).clone()
        alive = self.live.among(writers, z.device)
        raw[..., heads, :] = z if alive is None else torch.where(alive[:, :, None, :, None], z, raw[..., heads, :])
        return post_scale(layer.block, layer.block.output(raw.flatten(-2)))[..., None]

    # -- common -----------------------------------------------------------------------------------------------------

    def _put(self, writer: int, delta: Tensor, weight: Tensor | Callable[[], Tensor] | None = None) -> None:
        """Put the deltas of writers from this one on into the buffer, in compact form if their weight is given."""
        self.reads.deltas.put(self.reads.plan.rows_before(writer), delta, weight)

    def _neurons_of(self, values: Tensor, writers: Sequence[int]) -> Tensor:
        """Values [(mask,) node, ·, d_model] of some writers, each coordinate as far as it is kept."""
        if self.mask.neurons is None:
            return values
        neurons = self.mask.neurons
        return values * neurons[:, self.reads.plan.picks(writers, neurons.device), None, :].to(values.device)
