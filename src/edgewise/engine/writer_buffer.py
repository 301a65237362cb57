"""WriterBuffer: one buffer with every computed writer's output minus its replacement, and how readers mix from it.

`put` writes a node's rows, delta_w; `read` mixes what a set of readers gets, base_r + Σ_w mask[w, r] · delta_w, and applies
the layer's norm and projections to it. Both are differentiable without keeping anything per reader: in the backward pass
inputs are mixed once more, and gradients of the rows gather in a second buffer of the same size. A zero-sized
*ticket* that each put hands on makes autograd run every read's backward before that of the puts it has read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from edgewise.engine.read_plan import Piece, ReadPlan
from edgewise.engine.tiling import Tiling
from edgewise.engine.workspace import Workspace
from edgewise.engine.writes import bmm_into


@final
@dataclass
class WriterBuffer:
    """Rows [mask, row, token, d_model] of the writers put so far, and the tickets of the last put and of the mask.

    In a backward pass gradients of the rows gather in `gradient`, those of the mask in `at_mask`.
    """

    rows: Tensor
    ticket: Tensor
    workspace: Workspace
    tiling: Tiling
    entered: Tensor
    shape: tuple[int, ...] = ()
    gradient: Tensor | None = None
    at_mask: Tensor | None = None

    @classmethod
    def empty(cls, workspace: Workspace, shape: tuple[int, ...], like: Tensor, tiling: Tiling) -> WriterBuffer:
        """A buffer of that shape with no rows put."""
        nothing = like.new_empty(0)
        return cls(workspace.take("rows", shape, like), nothing, workspace, tiling, nothing)

    def open(self, mask: Tensor) -> None:
        """Begin to read under a mask [mask, (example,) row, reader], parts of which the plans of reads give."""
        self.shape = tuple(mask.shape)
        self.entered = _Enter.apply(mask, self)  # type: ignore[no-untyped-call]

    def put(self, first: int, delta: Tensor, weight: Tensor | Callable[[], Tensor] | None = None) -> None:
        """Write rows `first`…: `delta` [mask, row, token, d_model], or [mask, row, token, d_head] times `weight`.

        `weight` [row, d_head, d_model] may have a leading axis of masks, and a gradient if it has; or it is a function that
        gives it, which is asked again in the backward pass, so that nothing has to hold on to it.
        """
        self.ticket = _Put.apply(delta, self.ticket, self, first, weight)  # type: ignore[no-untyped-call]

    def put_difference(self, first: int, written: Tensor, replaced: Tensor) -> None:
        """Write rows `first`…: `written` [mask, row, token, d_model] minus `replaced`, which has no gradient."""
        self.ticket = _PutDifference.apply(written, self.ticket, self, first, replaced)  # type: ignore[no-untyped-call]

    def read(self, plan: ReadPlan) -> tuple[Tensor, Tensor]:
        """What the readers of `plan` make of the buffer, and what it hands on: both [mask, reader, token, ·]."""
        return _Read.apply(self.entered, self.ticket, self, plan)  # type: ignore[no-untyped-call]

    def gradient_rows(self) -> Tensor:
        """The buffer where gradients of the rows gather."""
        if self.gradient is None:
            self.gradient = self.workspace.take("gradient", tuple(self.rows.shape), self.rows).zero_()
        return self.gradient

    def gradient_at_mask(self, plan: ReadPlan, piece: Piece) -> Tensor:
        """Where the gradient of the mask gathers, as far as a piece of a read goes."""
        if self.at_mask is None:
            self.at_mask = self.rows.new_zeros(self.shape)
        return plan.gradient(self.at_mask, piece)

    def close(self) -> None:
        """No more puts or reads. The graph holds the buffer; if the buffer held the graph, neither would ever be freed."""
        self.ticket, self.entered = self.ticket.detach(), self.entered.detach()


@final
class _Enter(torch.autograd.Function):
    """Every read hangs on it, so that in the backward pass it comes last, when the gradient of the mask is complete."""

    @staticmethod
    def forward(ctx: Any, mask: Tensor, buffer: WriterBuffer) -> Tensor:
        ctx.buffer = buffer
        return mask.new_empty(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        gathered, ctx.buffer.at_mask = ctx.buffer.at_mask, None
        return gradients[0].new_zeros(ctx.buffer.shape) if gathered is None else gathered, None


@final
class _PutDifference(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, written: Tensor, ticket: Tensor, buffer: WriterBuffer, first: int, replaced: Tensor
    ) -> Tensor:
        ctx.buffer, ctx.rows, ctx.dtype = buffer, slice(first, first + written.shape[1]), written.dtype
        torch.sub(written, replaced, out=buffer.rows[:, ctx.rows])
        return ticket.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows = ctx.buffer.gradient_rows()[:, ctx.rows]
        return rows.to(ctx.dtype, copy=True), gradients[0], None, None, None


@final
class _Put(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, delta: Tensor, ticket: Tensor, buffer: WriterBuffer, first: int, weight: Any) -> Tensor:
        ctx.buffer, ctx.rows, ctx.weight = buffer, slice(first, first + delta.shape[1]), weight
        ctx.delta, ctx.device = delta if ctx.needs_input_grad[4] else None, delta.device
        target = buffer.rows[:, ctx.rows]
        if weight is None:
            target.copy_(delta)
        else:
            weights = _given(weight).expand(len(delta), -1, -1, -1)
            for compact, by, out in zip(delta, weights, target, strict=True):
                bmm_into(out, compact, by)
        return ticket.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows = ctx.buffer.gradient_rows()[:, ctx.rows]
        if ctx.weight is None:
            return rows.to(ctx.device, copy=True), gradients[0], None, None, None
        by = _given(ctx.weight)
        rows = rows.to(by.device)
        delta = torch.matmul(rows, by.transpose(-1, -2))
        weight = None if ctx.delta is None else torch.matmul(ctx.delta.transpose(-1, -2), rows)
        return delta, gradients[0], None, None, weight


def _given(weight: Tensor | Callable[[], Tensor]) -> Tensor:
    return weight if isinstance(weight, Tensor) else weight()


@final
class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, entered: Tensor, ticket: Tensor, buffer: WriterBuffer, plan: ReadPlan
    ) -> tuple[Tensor, Tensor]:
        ctx.buffer, ctx.plan = buffer, plan
        made, handed_on = [], []
        for piece in plan.pieces(buffer.tiling):
            mixed = _mix(buffer, plan, piece, plan.transform.space(buffer.workspace))
            made.append(plan.merge(plan.transform(mixed[:, : plan.transformed])))
            handed_on.append(plan.merge(mixed[:, plan.transformed :].clone()))
        masks = len(plan.mask)
        return _join(made, masks), _join(handed_on, masks)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        buffer, plan = ctx.buffer, ctx.plan
        for piece in plan.pieces(buffer.tiling):
            at_made, at_handed_on = (plan.split(gradient[piece[0]][:, :, piece[1]]) for gradient in gradients[:2])
            at_mixed = plan.transform.pull(at_made, partial(_mix, buffer, plan, piece, buffer.workspace))
            if plan.handed_on:
                at_mixed[:, plan.transformed :] = at_handed_on
            at_mixed = at_mixed.flatten(2)
            if ctx.needs_input_grad[0]:
                rows = plan.rows_of(buffer.rows, piece)
                buffer.gradient_at_mask(plan, piece).baddbmm_(rows, at_mixed.transpose(1, 2))
            if ctx.needs_input_grad[1]:
                _accumulate(buffer.gradient_rows(), plan, piece, at_mixed)
        return torch.empty_like(buffer.ticket), torch.empty_like(buffer.ticket), None, None


def _join(pieces: list[Tensor], masks: int) -> Tensor:
    """Put pieces of [mask, reader, token, ·] together, in the order in which they were cut."""
    if len(pieces) == 1:
        return pieces[0]
    if pieces[0].shape[0] == 1 and len(pieces) > masks:
        per_mask = len(pieces) // masks
        rows = [torch.cat(pieces[i * per_mask : (i + 1) * per_mask], dim=2) for i in range(masks)]
        return torch.cat(rows)
    return torch.cat(pieces)


def _mix(buffer: WriterBuffer, plan: ReadPlan, piece: Piece, space: Workspace) -> Tensor:
    """base_r + Σ_w mask[w, r] · delta_w of a piece: [mask, reader, token, d_model] or [example, reader, its token, d_model].

    The next mix is made in the same memory of `space`.
    """
    mask, read = plan.masks(piece), plan.rows_of(buffer.rows, piece)
    base = plan.split(plan.base[None, None, piece[1]])
    flat = space.take("mixed", (len(mask), mask.shape[2], read.shape[2]), read)
    mixed = flat.unflatten(2, base.shape[2:])
    kept = _few(mask, buffer.tiling.sparse)
    if kept is not None:
        mixed[:, : plan.transformed] = base
        mixed[:, plan.transformed :] = 0
        weights = mask[kept.unbind(1)].tolist()
        for (m, row, reader), weight in zip(kept.tolist(), weights, strict=True):
            flat[m, reader].add_(read[m, row], alpha=weight)
    elif plan.handed_on:
        torch.bmm(mask.transpose(1, 2), read, out=flat)
        mixed[:, : plan.transformed].add_(base)
    else:
        torch.baddbmm(base.flatten(2), mask.transpose(1, 2), read, out=flat)
    return mixed


def _few(mask: Tensor, share: float) -> Tensor | None:
    """Where a mask is not zero, if that is in no more than a share of it; else None."""
    if not share:
        return None
    kept = mask.nonzero()
    return kept if len(kept) <= share * mask.numel() else None


def _accumulate(gathered: Tensor, plan: ReadPlan, piece: Piece, at_mixed: Tensor) -> None:
    """Add Σ_r mask[w, r] · gradient_r to the gradients of the rows a piece has read: in place, where they lie together."""
    if plan.tokens is None:
        plan.rows_of(gathered, piece).baddbmm_(plan.masks(piece), at_mixed)
        return
    masks, tokens = piece
    spread = plan.merge(torch.bmm(plan.masks(piece), at_mixed).unflatten(2, (-1, plan.base.shape[-1])))
    gathered[masks, plan.rows].index_add_(2, plan.tokens[tokens], spread)
