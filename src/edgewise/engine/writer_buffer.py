"""WriterBuffer: one buffer with every computed writer's output minus its replacement, and how readers mix from it.

`put` writes a node's rows, delta_w; `read` mixes what a set of readers gets, base_r + Σ_w mask[w, r] · delta_w, and applies
the layer's norm and projections to it. Both are differentiable without keeping anything per reader: in the backward pass
inputs are mixed once more, and gradients of the rows gather in a second buffer of the same size. A zero-sized
*ticket* that each put hands on makes autograd run every read's backward before that of the puts it has read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from edgewise.engine.read_plan import Piece, ReadPlan

# Below this share of kept edges, adding row by row beats a dense product.
SPARSE_SHARE = 0.12


@final
@dataclass
class Workspace:
    """Memory reused from run to run: fresh pages cost more than the arithmetic done on them."""

    _held: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor of that shape; the next call with the same name may hand out the same memory."""
        size = int(torch.Size(shape).numel())
        held = self._held.get(name)
        if held is None or held.numel() < size or (held.dtype, held.device) != (like.dtype, like.device):
            self._held[name] = held = like.new_empty(size)
        return held[:size].view(shape)


@final
@dataclass
class WriterBuffer:
    """Rows [mask, row, token, d_model] of the writers put so far, and the ticket of the last put."""

    rows: Tensor
    ticket: Tensor
    workspace: Workspace
    gradient: Tensor | None = None

    @classmethod
    def empty(cls, workspace: Workspace, shape: tuple[int, ...], like: Tensor) -> WriterBuffer:
        """A buffer of that shape with no rows put."""
        return cls(workspace.take("rows", shape, like), like.new_zeros(()), workspace)

    def put(self, first: int, delta: Tensor, weight: Tensor | Callable[[], Tensor] | None = None) -> None:
        """Write rows `first`…: `delta` [mask, row, token, d_model], or [mask, row, token, d_head] times `weight`.

        `weight` [row, d_head, d_model] may have a leading axis of masks, and a gradient if it has; or it is a function that
        gives it, which is asked again in the backward pass, so that nothing has to hold on to it.
        """
        self.ticket = _Put.apply(delta, self.ticket, self, first, weight)  # type: ignore[no-untyped-call]

    def read(self, plan: ReadPlan) -> tuple[Tensor, Tensor]:
        """What the readers of `plan` make of the buffer, and what it hands on: both [mask, reader, token, ·]."""
        return _Read.apply(plan.mask, self.ticket, self, plan)  # type: ignore[no-untyped-call]

    def gradient_rows(self) -> Tensor:
        """The buffer where gradients of the rows gather."""
        if self.gradient is None:
            self.gradient = self.workspace.take("gradient", tuple(self.rows.shape), self.rows).zero_()
        return self.gradient

    def close(self) -> None:
        """No more puts or reads. The graph holds the buffer; if the buffer held the graph, neither would ever be freed."""
        self.ticket = self.ticket.detach()


@final
class _Put(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, delta: Tensor, ticket: Tensor, buffer: WriterBuffer, first: int, weight: Any) -> Tensor:
        ctx.buffer, ctx.rows, ctx.weight = buffer, slice(first, first + delta.shape[1]), weight
        ctx.delta = delta if ctx.needs_input_grad[4] else None
        target = buffer.rows[:, ctx.rows]
        if weight is None:
            target.copy_(delta)
        else:
            weights = _given(weight).expand(len(delta), -1, -1, -1)
            for compact, by, out in zip(delta, weights, target, strict=True):
                torch.bmm(compact, by, out=out)
        return ticket.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows = ctx.buffer.gradient_rows()[:, ctx.rows]
        delta = rows.clone() if ctx.weight is None else torch.matmul(rows, _given(ctx.weight).transpose(-1, -2))
        weight = None if ctx.delta is None else torch.matmul(ctx.delta.transpose(-1, -2), rows)
        return delta, gradients[0], None, None, weight


def _given(weight: Tensor | Callable[[], Tensor]) -> Tensor:
    return weight if isinstance(weight, Tensor) else weight()


@final
class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mask: Tensor, ticket: Tensor, buffer: WriterBuffer, plan: ReadPlan) -> tuple[Tensor, Tensor]:
        ctx.buffer, ctx.plan = buffer, plan
        made, handed_on = [], []
        for piece in plan.pieces():
            mixed = _mix(buffer, plan, piece)
            made.append(plan.merge(plan.transform(mixed[:, : plan.transformed])))
            handed_on.append(plan.merge(mixed[:, plan.transformed :].clone()))
        return _join(made, len(mask)), _join(handed_on, len(mask))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        buffer, plan, for_mask = ctx.buffer, ctx.plan, torch.zeros_like(ctx.plan.mask)
        for piece in plan.pieces():
            at_made, at_handed_on = (plan.split(gradient[piece[0]][:, :, piece[1]]) for gradient in gradients[:2])
            at_mixed = plan.transform.pull(at_made, partial(_mix, buffer, plan, piece))
            if plan.handed_on:
                at_mixed[:, plan.transformed :] = at_handed_on
            at_mixed = at_mixed.flatten(2)
            plan.gather(for_mask, piece, torch.bmm(plan.rows_of(buffer.rows, piece), at_mixed.transpose(1, 2)))
            if ctx.needs_input_grad[1]:
                _accumulate(buffer.gradient_rows(), plan, piece, at_mixed)
        return for_mask, torch.zeros_like(buffer.ticket), None, None


def _join(pieces: list[Tensor], masks: int) -> Tensor:
    """Put pieces of [mask, reader, token, ·] together, in the order in which they were cut."""
    if len(pieces) == 1:
        return pieces[0]
    if pieces[0].shape[0] == 1 and len(pieces) > masks:
        per_mask = len(pieces) // masks
        rows = [torch.cat(pieces[i * per_mask : (i + 1) * per_mask], dim=2) for i in range(masks)]
        return torch.cat(rows)
    return torch.cat(pieces)


def _mix(buffer: WriterBuffer, plan: ReadPlan, piece: Piece) -> Tensor:
    """base_r + Σ_w mask[w, r] · delta_w of a piece: [mask, reader, token, d_model] or [example, reader, its token, d_model].

    The next mix is made in the same memory.
    """
    mask, read = plan.masks(piece), plan.rows_of(buffer.rows, piece)
    base = plan.split(plan.base[None, None, piece[1]])
    flat = buffer.workspace.take("mixed", (len(mask), mask.shape[2], read.shape[2]), read)
    mixed = flat.unflatten(2, base.shape[2:])
    kept = mask.nonzero()
    if len(kept) > SPARSE_SHARE * mask.numel():
        torch.bmm(mask.transpose(1, 2), read, out=flat)
        mixed[:, : plan.transformed] += base
        return mixed
    mixed[:, : plan.transformed] = base
    mixed[:, plan.transformed :] = 0
    weights = mask[kept.unbind(1)].tolist()
    for (m, row, reader), weight in zip(kept.tolist(), weights, strict=True):
        flat[m, reader].add_(read[m, row], alpha=weight)
    return mixed


def _accumulate(gathered: Tensor, plan: ReadPlan, piece: Piece, at_mixed: Tensor) -> None:
    """Add Σ_r mask[w, r] · gradient_r to the gradients of the rows a piece has read: in place, where they lie together."""
    if plan.tokens is None:
        plan.rows_of(gathered, piece).baddbmm_(plan.masks(piece), at_mixed)
        return
    masks, tokens = piece
    spread = plan.merge(torch.bmm(plan.masks(piece), at_mixed).unflatten(2, (-1, plan.base.shape[-1])))
    gathered[masks, plan.rows].index_add_(2, plan.tokens[tokens], spread)
