"""Board: one buffer with every computed writer's output minus its replacement, and how readers mix from it.

`put` writes a node's rows; `read` mixes what a set of readers gets, Σ_w mask[w, r] · row_w + base, and applies the layer's
norm and projections to it. Both are differentiable without keeping anything per reader: mixed inputs are recomputed from
the buffer in the backward pass, and gradients of the rows gather in a second buffer of the same size. A zero-sized
*ticket* that each put hands on makes autograd run every read's backward before that of the puts it has read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from edgewise.engine.writes import token_chunks

# Below this share of kept edges, adding row by row beats a dense product.
SPARSE_SHARE = 0.12

# Masks, and tokens that are read, worked on together.
Piece = tuple[slice, slice]


class Transform(ABC):
    """What readers make of their inputs, token by token: [mask, reader, token, d_model] → [mask, reader, token, ·]."""

    @abstractmethod
    def __call__(self, mixed: Tensor) -> Tensor:
        """What they make of the inputs."""

    @abstractmethod
    def pull(self, gradient: Tensor, mixed: Callable[[], Tensor]) -> Tensor:
        """The gradient at the inputs for that at what was made of them; `mixed` gives the inputs once more.

        Those may be of further readers, of which nothing was made: their gradient is zero.
        """


@final
class Unchanged(Transform):
    """The inputs themselves."""

    def __call__(self, mixed: Tensor) -> Tensor:
        return mixed.clone()

    def pull(self, gradient: Tensor, mixed: Callable[[], Tensor]) -> Tensor:
        return gradient


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


@dataclass
class WriterBuffer:
    """Rows [mask, row, token, d_model] of the writers put so far, and the ticket of the last put."""

    rows: Tensor
    ticket: Tensor
    workspace: Workspace
    gradient: Tensor | None = None

    @classmethod
    def empty(cls, workspace: Workspace, shape: tuple[int, ...], like: Tensor) -> WriterBuffer:
        """A board of that shape with no rows put."""
        return cls(workspace.take("rows", shape, like), like.new_zeros(()), workspace)

    def put(self, first: int, delta: Tensor, weight: Tensor | Callable[[], Tensor] | None = None) -> None:
        """Write rows `first`…: `delta` [mask, row, token, d_model], or [mask, row, token, d_head] times `weight`.

        `weight` [row, d_head, d_model] may have a leading axis of masks, and a gradient if it has; or it is a function that
        gives it, which is asked again in the backward pass, so that nothing has to hold on to it.
        """
        self.ticket = _Put.apply(delta, self.ticket, self, first, weight)  # type: ignore[no-untyped-call]

    def read(self, order: ReadPlan) -> tuple[Tensor, Tensor]:
        """What the readers of `order` make of the board, and what it hands on: both [mask, reader, token, ·]."""
        return _Read.apply(order.mask, self.ticket, self, order)  # type: ignore[no-untyped-call]

    def gradient_rows(self) -> Tensor:
        """The buffer where gradients of the rows gather."""
        if self.gradient is None:
            self.gradient = self.workspace.take("gradient", tuple(self.rows.shape), self.rows).zero_()
        return self.gradient

    def close(self) -> None:
        """No more puts or reads. The graph holds the board; if the board held the graph, neither would ever be freed."""
        self.ticket = self.ticket.detach()


@dataclass(frozen=True)
class ReadPlan:
    """What to read: `mask` [mask, row, reader] over rows from `first` on, `base` [token, d_model] under it, at which tokens.

    `tokens` None means all; `transform` maps [mask, reader, token, d_model] to [mask, reader, token, ·], token by token. Of
    the last `handed_on` readers the bare sum is handed on, without base, to be completed when more rows are put.
    A mask of four axes, [mask, example, row, reader], holds one for each example: tokens come example by example, as many
    of each.
    """

    mask: Tensor
    base: Tensor
    tokens: Tensor | None
    transform: Transform
    first: int = 0
    handed_on: int = 0

    @property
    def rows(self) -> slice:
        """Which rows are read."""
        return slice(self.first, self.first + self.mask.shape[-2])

    @property
    def transformed(self) -> int:
        """Of how many readers, the first ones, something is made."""
        return self.mask.shape[-1] - self.handed_on

    @property
    def count(self) -> int:
        """How many tokens are read."""
        return len(self.base)

    @property
    def of_each(self) -> int | None:
        """How many tokens of each example are read, None where all examples share their masks."""
        return None if self.mask.ndim == 3 else self.count // self.mask.shape[1]

    def masks(self, piece: Piece) -> Tensor:
        """The masks of a piece: [mask, row, reader], or of each of its examples, [example, row, reader]."""
        masks, tokens = piece
        return self.mask[masks] if self.of_each is None else self.mask[masks][0, self._examples(tokens)]

    def gather(self, into: Tensor, piece: Piece, values: Tensor) -> None:
        """Add to a gradient of the mask what a piece gives."""
        masks, tokens = piece
        if self.of_each is None:
            into[masks] += values
        else:
            into[masks][0, self._examples(tokens)] += values

    def split(self, x: Tensor) -> Tensor:
        """[mask, ·, token, ·] of a piece as its masks see it: with masks of each example, [example, ·, its token, ·]."""
        return x if self.of_each is None else x[0].unflatten(1, (-1, self.of_each)).transpose(0, 1)

    def merge(self, x: Tensor) -> Tensor:
        """The inverse of `split`."""
        return x if self.of_each is None else x.transpose(0, 1).flatten(1, 2)[None]

    def _examples(self, tokens: slice) -> slice:
        each = self.of_each or 1
        return slice(tokens.start // each, tokens.stop // each)


class _Put(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, delta: Tensor, ticket: Tensor, board: WriterBuffer, first: int, weight: Any) -> Tensor:
        ctx.board, ctx.rows, ctx.weight = board, slice(first, first + delta.shape[1]), weight
        ctx.delta = delta if ctx.needs_input_grad[4] else None
        target = board.rows[:, ctx.rows]
        if weight is None:
            target.copy_(delta)
        else:
            for one, by, out in zip(delta, _given(weight).expand(len(delta), -1, -1, -1), target, strict=True):
                torch.bmm(one, by, out=out)
        return ticket.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows = ctx.board.gradient_rows()[:, ctx.rows]
        delta = rows.clone() if ctx.weight is None else torch.matmul(rows, _given(ctx.weight).transpose(-1, -2))
        weight = None if ctx.delta is None else torch.matmul(ctx.delta.transpose(-1, -2), rows)
        return delta, gradients[0], None, None, weight


def _given(weight: Tensor | Callable[[], Tensor]) -> Tensor:
    return weight if isinstance(weight, Tensor) else weight()


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mask: Tensor, ticket: Tensor, board: WriterBuffer, order: ReadPlan) -> tuple[Tensor, Tensor]:
        ctx.board, ctx.order = board, order
        made, handed_on = [], []
        for piece in _pieces(order):
            mixed = _mix(board, order, piece)
            made.append(order.merge(order.transform(mixed[:, : order.transformed])))
            handed_on.append(order.merge(mixed[:, order.transformed :].clone()))
        return _join(made, len(mask)), _join(handed_on, len(mask))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        board, order, for_mask = ctx.board, ctx.order, torch.zeros_like(ctx.order.mask)
        for piece in _pieces(order):
            at_made, at_handed_on = (order.split(gradient[piece[0]][:, :, piece[1]]) for gradient in gradients[:2])
            at_mixed = order.transform.pull(at_made, partial(_mix, board, order, piece))
            if order.handed_on:
                at_mixed[:, order.transformed :] = at_handed_on
            at_mixed = at_mixed.flatten(2)
            order.gather(for_mask, piece, torch.bmm(_rows(board.rows, order, piece), at_mixed.transpose(1, 2)))
            if ctx.needs_input_grad[1]:
                _accumulate(board.gradient_rows(), order, piece, at_mixed)
        return for_mask, torch.zeros_like(board.ticket), None, None


def _pieces(order: ReadPlan) -> list[Piece]:
    """Cut the work so that a piece stays in cache: several masks at a time if they are small, else tokens of one."""
    masks, (rows, readers) = len(order.mask), order.mask.shape[-2:]
    per_token = (rows + 2 * readers) * order.base.shape[-1] * order.base.itemsize
    if order.of_each is not None:
        return [(slice(m, m + 1), chunk) for m in range(masks) for chunk in _whole_examples(order, per_token)]
    tokens = list(token_chunks(order.count, per_token))
    if len(tokens) > 1:
        return [(slice(m, m + 1), chunk) for m in range(masks) for chunk in tokens]
    return [(chunk, tokens[0]) for chunk in token_chunks(masks, per_token * order.count)]


def _whole_examples(order: ReadPlan, per_token: int) -> Iterator[slice]:
    each = order.of_each or 1
    for chunk in token_chunks(order.mask.shape[1], per_token * each):
        yield slice(chunk.start * each, chunk.stop * each)


def _join(pieces: list[Tensor], masks: int) -> Tensor:
    """Put pieces of [mask, reader, token, ·] together, in the order `_pieces` cuts them."""
    if len(pieces) == 1:
        return pieces[0]
    if pieces[0].shape[0] == 1 and len(pieces) > masks:
        per_mask = len(pieces) // masks
        rows = [torch.cat(pieces[i * per_mask : (i + 1) * per_mask], dim=2) for i in range(masks)]
        return torch.cat(rows)
    return torch.cat(pieces)


def _rows(buffer: Tensor, order: ReadPlan, piece: Piece) -> Tensor:
    """The rows that a piece reads, [mask|example, row, token·d_model]: a view where all tokens are read."""
    masks, tokens = piece
    where = tokens if order.tokens is None else order.tokens[tokens]
    return order.split(buffer[masks, order.rows, where]).flatten(2)


def _mix(board: WriterBuffer, order: ReadPlan, piece: Piece) -> Tensor:
    """Σ_w mask[w, r] · row_w + base for a piece, [mask, reader, token, d_model], or [example, reader, its token, d_model].

    The next mix is made in the same memory.
    """
    mask, read = order.masks(piece), _rows(board.rows, order, piece)
    base = order.split(order.base[None, None, piece[1]])
    flat = board.workspace.take("mixed", (len(mask), mask.shape[2], read.shape[2]), read)
    mixed = flat.unflatten(2, base.shape[2:])
    kept = mask.nonzero()
    if len(kept) > SPARSE_SHARE * mask.numel():
        torch.bmm(mask.transpose(1, 2), read, out=flat)
        mixed[:, : order.transformed] += base
        return mixed
    mixed[:, : order.transformed] = base
    mixed[:, order.transformed :] = 0
    weights = mask[kept.unbind(1)].tolist()
    for (m, row, reader), weight in zip(kept.tolist(), weights, strict=True):
        flat[m, reader].add_(read[m, row], alpha=weight)
    return mixed


def _accumulate(gathered: Tensor, order: ReadPlan, piece: Piece, at_mixed: Tensor) -> None:
    """Add Σ_r mask[w, r] · gradient_r to the gradients of the rows a piece has read: in place, where they lie together."""
    if order.tokens is None:
        _rows(gathered, order, piece).baddbmm_(order.masks(piece), at_mixed)
        return
    masks, tokens = piece
    spread = order.merge(torch.bmm(order.masks(piece), at_mixed).unflatten(2, (-1, order.base.shape[-1])))
    gathered[masks, order.rows].index_add_(2, order.tokens[tokens], spread)
