"""masked_forward: THE primitive. A run of the model in which every edge is kept, replaced, or anything between.

Each reader of the residual stream gets an input of its own,

    x_r = base_r + Σ_w mask[w, r] · (out_w − replacement_w),

to which the model's own norm, that head's projection rows, the native attention module (with the projections' outputs
forced), the native MLP and the native unembedding are applied. Mask 1 everywhere gives the clean run, 0 the replaced one.
A mask of neurons weighs the coordinates of out_w − replacement_w too, when they are put on the board, for all readers alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.engine.mask import Mask
from edgewise.engine.plan import LayerPlan, Plan, make_plan
from edgewise.engine.record import post_scale
from edgewise.engine.replacement import Replacement
from edgewise.engine.writer_buffer import ReadPlan, Transform, Unchanged, Workspace, WriterBuffer
from edgewise.models.family import Block
from edgewise.models.hooks import OnInput, forced, hooked, steady
from edgewise.models.norms import Norm
from edgewise.models.subject import Subject, finite
from edgewise.reachability import writers_on_path


def masked_forward(
    subject: Subject,
    tokens: Tensor,
    positions: Tensor,
    mask: Tensor | Mask,
    replacement: Replacement,
    *,
    candidates: Tensor | None = None,
    workspace: Workspace | None = None,
) -> Tensor:
    """Logits [example, vocab] at the answer positions under `mask` [writer, reader], or a Mask that knows neurons too.

    For several masks [mask, writer, reader] the result is [mask, example, vocab], and so it is for masks of which every
    example has its own, [mask, example, writer, reader]. `tokens` [example, position] is the clean batch. Differentiable in
    the mask. Work is done only where `candidates` (bool [writer, reader]) may be non-zero: by default the non-zero entries
    of the mask, or every edge when the mask requires a gradient. A node on no path from an input writer to `logits` outputs
    its replacement.
    """
    graph, wanted = subject.graph, mask if isinstance(mask, Mask) else Mask(mask)
    masks = wanted.stacked(subject, len(tokens))
    if candidates is None:
        kept = masks.carrying().flatten(0, -3).any(dim=0).cpu() & graph.edge_mask
        candidates = graph.edge_mask if wanted.differentiable else kept
    with steady(subject.model):
        with torch.no_grad():
            start = subject.embed(tokens)
        block = subject.blocks[0]
        plan = make_plan(graph, candidates, coupled=block.coupled, together=block.projections.together)
        walk = _Walk(subject, plan, masks, replacement, positions)
        logits = finite(walk.run(start, workspace or Workspace()), subject.name)
    return logits if wanted.several else logits[0]


@dataclass
class _Walk:
    """One masked run: the blocks walked from input to logits, every node put on the board as it is computed."""

    subject: Subject
    plan: Plan
    mask: Mask
    replacement: Replacement
    positions: Tensor

    def run(self, start: Tensor, workspace: Workspace) -> Tensor:
        """Logits [mask, example, vocab] for what the input writers write: [example, position, input, d_model]."""
        self.masks = self.mask.edges
        self.shape = start.shape[:2]
        self.contexts = self.subject.context(start.shape[1])
        offsets = torch.arange(len(start), device=start.device) * start.shape[1]
        self.answers = offsets + self.positions.to(start.device)
        # A dead node outputs its replacement. It computes just that by itself where the replacement is a run of the
        # model, unless a norm rescales it together with live heads.
        coupled = self.subject.blocks[0].coupled
        self.live = self._live() if coupled or not self.replacement.is_run else None
        like = start.to(self.subject.work_dtype)
        shape = (len(self.masks), len(self.plan.computed), start.shape[0] * start.shape[1], start.shape[3])
        self.board = WriterBuffer.empty(workspace, shape, like)
        delta = like - self.replacement.writes.inputs.to(like.dtype)
        written = delta.flatten(0, 1).transpose(0, 1).expand(len(self.masks), -1, -1, -1)
        self.board.put(0, self._neurons_of(written, 0, range(written.shape[1])))
        for layer, plan in enumerate(self.plan.layers):
            handed_on = self._attention(layer, plan) if plan.heads else None
            if plan.mlp:
                self._mlp(layer, plan, handed_on)
        logits = self._logits()
        self.board.close()
        return logits

    # -- the three kinds of readers ---------------------------------------------------------------------------------

    def _attention(self, layer: int, plan: LayerPlan) -> Tensor | None:
        """Run the heads; what is handed on to the MLP, [mask, 1, token, d_model], if anything is."""
        block = self.subject.blocks[layer]
        outputs, handed_on = self._projections(layer, plan, block)
        by_token = outputs.transpose(1, 2).reshape(-1, *self.shape[1:], *outputs.shape[1:2], outputs.shape[3])
        z = native_attention(self.subject, block, self.contexts[layer], by_token, plan.groups)
        z = z.view(len(self.masks), *self.shape, len(plan.heads), -1)
        replaced = self.replacement.writes.z[layer].to(z.dtype)[..., plan.heads, :]
        if block.attention_post is not None:
            z = z * self._post_scale(layer, plan, block, z)
        delta = (z - replaced).flatten(1, 2).transpose(1, 2)
        delta = self._dead_to_zero(delta, self.subject.graph.head_writers(layer).start, plan.heads)
        start, weight = self.subject.graph.head_writers(layer).start, self._written(block, plan)
        # What a head writes is its weight's: a coordinate that is not kept is a column of it.
        weight = weight if self.mask.neurons is None else self._neurons_of(weight(), start, plan.heads)
        self.board.put(self.plan.rows_before(start), delta.to(self.board.rows.dtype), weight)
        return handed_on

    def _mlp(self, layer: int, plan: LayerPlan, handed_on: Tensor | None) -> None:
        block, graph = self.subject.blocks[layer], self.subject.graph
        tokens = self.answers if plan.mlp_late else None
        base = self._base(self.replacement.mlp_in[layer], tokens)
        since = 0 if handed_on is None else graph.head_writers(layer).start
        x, _ = self.board.read(self._order([graph.mlp_reader(layer)], base, tokens, Unchanged(), since=since))
        x = (x if handed_on is None else x + handed_on)[:, 0]
        out = block.mlp_write(x.to(self.subject.dtype))
        delta = out.to(x.dtype) - self._base(self.replacement.writes.mlp[layer], tokens)
        delta = self._dead_to_zero(delta[:, None], graph.mlp_writer(layer), [0])
        if tokens is not None:
            full = delta.new_zeros(*delta.shape[:2], self.board.rows.shape[2], delta.shape[3])
            delta = full.index_copy(2, tokens, delta)
        delta = self._neurons_of(delta, graph.mlp_writer(layer), [0])
        self.board.put(self.plan.rows_before(graph.mlp_writer(layer)), delta)

    def _logits(self) -> Tensor:
        base = self._base(self.replacement.final_in, self.answers)
        reader = len(self.subject.graph.readers) - 1
        x, _ = self.board.read(self._order([reader], base, self.answers, Unchanged()))
        return self.subject.unembed(x[:, 0].to(self.subject.dtype))

    # -- attention --------------------------------------------------------------------------------------------------

    def _projections(self, layer: int, plan: LayerPlan, block: Block) -> tuple[Tensor, Tensor | None]:
        """Outputs of the running projections, [mask, reader, token, d_head], and what is handed on to the MLP.

        The MLP reads the rows that attention reads along with it, at next to no cost, and its own layer's heads later.
        """
        graph, handed_on = self.subject.graph, None
        first = graph.q_readers(layer).start
        base = self._base(self.replacement.attention_in[layer], None)
        slots = plan.slots
        parts: list[tuple[list[int], Tensor]] = []
        if plan.everywhere:
            along = [graph.mlp_reader(layer)] if plan.mlp and not plan.mlp_late else []
            readers = [*(first + slot for slot in plan.everywhere), *along]
            transform = _Projected.of(block, plan.everywhere, self.subject.dtype)
            made, bare = self.board.read(self._order(readers, base, None, transform, handed_on=len(along)))
            handed_on = bare if along else None
            parts.append((plan.everywhere, made))
        if plan.unfed:
            unfed = _Projected.of(block, plan.unfed, self.subject.dtype)(base[None, None])
            parts.append((plan.unfed, unfed.expand(len(self.masks), -1, -1, -1)))
        if plan.late_queries:
            readers = [first + slot for slot in plan.late_queries]
            transform = _Projected.of(block, plan.late_queries, self.subject.dtype)
            at_answers, _ = self.board.read(self._order(readers, base[self.answers], self.answers, transform))
            # Other tokens of these queries reach nothing, so any finite value will do for them.
            full = at_answers.new_zeros(*at_answers.shape[:2], len(base), at_answers.shape[3])
            parts.append((plan.late_queries, full.index_copy(2, self.answers, at_answers)))
        given = [slot for group, _ in parts for slot in group]
        joined = parts[0][1] if len(parts) == 1 else torch.cat([part for _, part in parts], dim=1)
        ordered = joined if given == slots else joined[:, [given.index(slot) for slot in slots]]
        if block.projections.together > 1:
            ordered = self._dead_to_replaced(
                layer, ordered, _Projected.of(block, slots, self.subject.dtype)(base[None, None])
            )
        return ordered, handed_on

    def _dead_to_replaced(self, layer: int, outputs: Tensor, replaced: Tensor) -> Tensor:
        """Outputs [mask, reader, token, d_head] of a whole layer, with those of heads that a mask leaves dead replaced.

        Where norms span all queries and all keys, a head that nobody uses must not change the scale for the others.
        """
        graph = self.subject.graph
        alive = self._alive(graph.head_writers(layer).start, [*range(graph.heads)])
        assert alive is not None
        shared = alive.unflatten(-1, (graph.kv_heads, -1)).any(dim=-1)
        readers = torch.cat([alive, shared, shared], dim=-1).transpose(1, 2)[..., None, None]
        by_example = [part.unflatten(2, (readers.shape[2], -1)) for part in (outputs, replaced)]
        return torch.where(readers, *by_example).flatten(2, 3)

    def _written(self, block: Block, plan: LayerPlan) -> Callable[[], Tensor]:
        """What gives the output weights of the heads that run: [head, d_head, d_model]."""
        rows, whole = self.board.rows, block.output_weight_later()
        some = len(plan.heads) < self.subject.graph.heads
        # Made now: the backward pass asks again, and should have nothing to bring to the device.
        heads = torch.tensor(plan.heads, device=rows.device) if some else None

        def weight() -> Tensor:
            every = whole().to(rows.dtype)
            return every if heads is None else every.index_select(0, heads)

        return weight

    def _post_scale(self, layer: int, plan: LayerPlan, block: Block, z: Tensor) -> Tensor:
        """The scale of a norm after attention, from the sum of all heads of this run: [mask, example, position, 1, 1]."""
        raw = self.replacement.writes.raw[layer].to(z.dtype).expand(*z.shape[:3], -1, -1).clone()
        alive = self._alive(self.subject.graph.head_writers(layer).start, plan.heads)
        raw[..., plan.heads, :] = (
            z if alive is None else torch.where(alive[:, :, None, :, None], z, raw[..., plan.heads, :])
        )
        return post_scale(block, block.output(raw.flatten(-2)))[..., None]

    # -- common -----------------------------------------------------------------------------------------------------

    def _order(
        self,
        readers: list[int],
        base: Tensor,
        tokens: Tensor | None,
        transform: Transform,
        *,
        since: int = 0,
        handed_on: int = 0,
    ) -> ReadPlan:
        """What readers read that can read what the first of them can: the computed writers from `since` on.

        Where all that something is made of read the same, as in circuits of nodes and of neurons, one input serves all.
        """
        rows = slice(self.plan.rows_before(since), self.plan.rows_before(self.subject.graph.reach(readers[0])))
        writers = self.plan.computed[rows].to(self.masks.device)
        mask = self.masks[..., writers[:, None], torch.tensor(readers, device=self.masks.device)]
        made = len(readers) - handed_on
        if made > 1 and not self.mask.differentiable and alike(mask[..., :made]):
            mask = torch.cat([mask[..., :1], mask[..., made:]], dim=-1)
        return ReadPlan(mask, base, tokens, transform, rows.start, handed_on)

    def _base(self, stream: Tensor, tokens: Tensor | None) -> Tensor:
        """A replaced stream [example|1, position|1, d_model] as [token, d_model], at the given tokens."""
        flat = stream.to(self.subject.work_dtype).expand(*self.shape, -1).flatten(0, 1)
        return flat if tokens is None else flat[tokens]

    def _neurons_of(self, values: Tensor, first: int, slots: Sequence[int]) -> Tensor:
        """Values [(mask,) node, ·, d_model] of the writers `first` + slots, each coordinate as far as it is kept."""
        if self.mask.neurons is None:
            return values
        return values * self.mask.neurons[:, [first + slot for slot in slots], None, :]

    def _live(self) -> Tensor:
        """bool [mask, example, writer]: those on a path from an input writer to logits; one example where all share masks.

        A head on none, whose output nobody uses, must not change the scale of a norm it shares with others either.
        """
        carrying = self.mask.carrying()
        of_each = carrying if carrying.ndim == 4 else carrying[:, None]
        on_path = [writers_on_path(self.subject.graph, one) for one in of_each.flatten(0, 1).cpu()]
        return torch.stack(on_path).to(self.masks.device).unflatten(0, of_each.shape[:2])

    def _alive(self, first: int, slots: list[int]) -> Tensor | None:
        """bool [mask, example|1, node], None where dead nodes need no care."""
        return None if self.live is None else self.live[..., [first + slot for slot in slots]]

    def _dead_to_zero(self, delta: Tensor, first: int, slots: list[int]) -> Tensor:
        """Rows [mask, node, token, ·] with those of nodes that a mask leaves dead set to zero, their replacement."""
        alive = self._alive(first, slots)
        if alive is None:
            return delta
        by_example = delta.unflatten(2, (alive.shape[1], -1))
        return (by_example * alive.transpose(1, 2)[..., None, None]).flatten(2, 3)


def alike(mask: Tensor) -> bool:
    """Whether all readers, [mask, (example,) row, reader], read the same."""
    return bool((mask == mask[..., :1]).all())


def native_attention(subject: Subject, block: Block, context: dict, projected: Tensor, groups: Sequence[int]) -> Tensor:
    """`z`, the output projection's input [row, position, head·d_head], by the model's own attention module.

    `projected` [row, position, reader, d_head] are the outputs its q, k and v projections are made to have, of all heads
    of these kv-heads, in graph order.
    """
    wanted = block.projections.join(projected, len(groups))
    width = subject.graph.heads * projected.shape[3]
    seen: list[Tensor] = []

    def catch(z: Tensor) -> Tensor:
        seen.append(z)
        return z.new_empty(0, z.shape[1], width)  # no rows: what the heads write is taken apart by us

    # The module takes only its shape from this: what it would compute from the values is forced.
    shape_only = projected.new_zeros(()).expand(*projected.shape[:2], subject.d_model)
    hooks = hooked([OnInput(block.output, catch)])
    with forced(block.projections.modules, wanted), hooks, block.projections.narrowed(groups):
        block.attention(hidden_states=shape_only, **context)
    return seen[0]


@final
@dataclass(frozen=True)
class _Projected(Transform):
    """Norm and projection rows of attention readers: [mask, reader, token, d_model] → [mask, reader, token, d_head].

    Of an input that all readers share, [mask, 1, token, d_model], it makes the same.
    """

    norm: Norm
    rows: Callable[[], tuple[Tensor, Tensor | None]]
    dtype: torch.dtype

    @classmethod
    def of(cls, block: Block, slots: list[int], dtype: torch.dtype) -> _Projected:
        """Those of the readers `slots`, for a model of that dtype."""
        return cls(block.attention_norm, block.projections.rows_later(slots), dtype)

    def __call__(self, mixed: Tensor) -> Tensor:
        weight, bias = (None if part is None else part.to(self.dtype) for part in self.rows())
        assert weight is not None
        normed = self.norm(mixed.to(self.dtype))
        if mixed.shape[1] < len(weight):
            joined = normed[:, 0] @ weight.flatten(0, 1).T
            out = joined.unflatten(2, weight.shape[:2]).transpose(1, 2)
        else:
            out = torch.matmul(normed, weight.transpose(-1, -2))
        return out if bias is None else out + bias[:, None, :]

    def pull(self, gradient: Tensor, mixed: Callable[[], Tensor]) -> Tensor:
        x, weight = mixed().requires_grad_(), self.rows()[0].to(self.dtype)
        with torch.enable_grad():
            normed = self.norm(x.to(self.dtype))
        at_normed = torch.empty_like(normed)
        at_normed[:, len(weight) :] = 0
        for one, out in zip(gradient, at_normed, strict=True):
            torch.bmm(one, weight, out=out[: len(weight)])
        return torch.autograd.grad(normed, x, at_normed)[0]
