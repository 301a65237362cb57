"""Projections of a masked run: each q, k and v reader's own input through the norm and that head's projection rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import linear

from edgewise.engine.live_nodes import LiveNodes
from edgewise.engine.plan import Picks, Plan
from edgewise.engine.read_plan import Transform
from edgewise.engine.reads import Reads, WalkedLayer
from edgewise.models.block import Block
from edgewise.models.norms import Norm


def projections(
    reads: Reads, layer: WalkedLayer, live: LiveNodes, base: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Outputs of a layer's running projections, [mask, reader, token, d_head], and what is handed on to its MLP.

    `base` [token, d_model]: the stream of a reader without kept edges; `dtype`: the model's. The MLP reads the rows that
    attention reads along with it, at next to no cost, and its own layer's heads later: [mask, 1, token, d_model].
    """
    plan, block, handed_on = layer.plan, layer.block, None
    first, answers = reads.graph.q_readers(layer.number).start, reads.tokens.answers
    parts: list[tuple[list[int], Tensor]] = []

    def projected(slots: list[int]) -> Projected:
        return Projected.of(block, reads.plan.picks(slots, block.device or base.device), dtype)

    if plan.everywhere:
        along = [reads.graph.mlp_reader(layer.number)] if plan.mlp and not plan.mlp_late else []
        readers = [*(first + slot for slot in plan.everywhere), *along]
        transform = projected(plan.everywhere)
        outputs, bare = reads.read(readers, base, None, transform, handed_on=len(along))
        handed_on = bare if along else None
        parts.append((plan.everywhere, outputs))
    if plan.unfed:
        unfed = projected(plan.unfed)(base[None, None])
        parts.append((plan.unfed, unfed.expand(len(reads.mask.edges), -1, -1, -1)))
    if plan.late_queries:
        readers = [first + slot for slot in plan.late_queries]
        transform = projected(plan.late_queries)
        at_answers, _ = reads.read(readers, base[answers], answers, transform)
        # Other tokens of these queries reach nothing, so any finite value will do for them.
        full = at_answers.new_zeros(*at_answers.shape[:2], len(base), at_answers.shape[3])
        parts.append((plan.late_queries, full.index_copy(2, answers.to(full.device), at_answers)))
    ordered = _in_order(parts, plan.slots, reads.plan)
    if block.projections.together > 1:
        replaced = projected(plan.slots)(base[None, None])
        ordered = _dead_to_replaced(reads, layer, live, ordered, replaced)
    return ordered, handed_on


def _in_order(parts: list[tuple[list[int], Tensor]], slots: list[int], plan: Plan) -> Tensor:
    """The outputs [mask, reader, token, d_head] of groups of slots, put together in the order of `slots`."""
    given = [slot for group, _ in parts for slot in group]
    joined = parts[0][1] if len(parts) == 1 else torch.cat([part for _, part in parts], dim=1)
    return joined if given == slots else joined[:, plan.picks([given.index(slot) for slot in slots], joined.device)]


def _dead_to_replaced(reads: Reads, layer: WalkedLayer, live: LiveNodes, outputs: Tensor, replaced: Tensor) -> Tensor:
    """Outputs [mask, reader, token, d_head] of a whole layer, with those of heads that a mask leaves dead replaced.

    Where norms span all queries and all keys, a head that nobody uses must not change the scale for the others.
    """
    graph, heads = reads.graph, reads.graph.head_writers(layer.number)
    alive = live.among(range(heads.start, heads.stop), outputs.device)
    assert alive is not None
    shared = alive.unflatten(-1, (graph.kv_heads, -1)).any(dim=-1)
    readers = torch.cat([alive, shared, shared], dim=-1).transpose(1, 2)[..., None, None]
    by_example = [part.unflatten(2, (readers.shape[2], -1)) for part in (outputs, replaced)]
    return torch.where(readers, *by_example).flatten(2, 3)


@final
@dataclass(frozen=True)
class Projected(Transform):
    """Norm and projection rows of attention readers: [mask, reader, token, d_model] → [mask, reader, token, d_head].

    Of an input that all readers share, [mask, 1, token, d_model], it makes the same.
    """

    norm: Norm
    rows: Callable[[], tuple[Tensor, Tensor | None]]
    dtype: torch.dtype

    @classmethod
    def of(cls, block: Block, slots: Picks, dtype: torch.dtype) -> Projected:
        """Those of the readers `slots`, for a model of that dtype."""
        return cls(block.attention_norm, block.projections.rows_later(slots), dtype)

    def __call__(self, mixed: Tensor) -> Tensor:
        weight, bias = (None if part is None else part.to(self.dtype) for part in self.rows())
        assert weight is not None
        normed = self.norm(mixed.to(weight.device, self.dtype))
        if mixed.shape[1] < len(weight):
            joined = linear(normed[:, 0], weight.flatten(0, 1), None if bias is None else bias.flatten())
            return joined.unflatten(2, weight.shape[:2]).transpose(1, 2)
        if bias is None:
            return torch.matmul(normed, weight.transpose(-1, -2))
        if len(normed) == 1:
            return torch.baddbmm(bias[:, None, :], normed[0], weight.transpose(-1, -2))[None]
        return torch.matmul(normed, weight.transpose(-1, -2)) + bias[:, None, :]

    def pull(self, gradient: Tensor, mixed: Callable[[], Tensor]) -> Tensor:
        x, weight = mixed().requires_grad_(), self.rows()[0].to(self.dtype)
        with torch.enable_grad():
            normed = self.norm(x.to(weight.device, self.dtype))
        at_normed = torch.empty_like(normed)
        at_normed[:, len(weight) :] = 0
        for at_output, out in zip(gradient, at_normed, strict=True):
            torch.bmm(at_output, weight, out=out[: len(weight)])
        return torch.autograd.grad(normed, x, at_normed)[0]
