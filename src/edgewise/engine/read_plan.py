"""ReadPlan: what a set of readers reads of the writer buffer, and what is made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor

from edgewise.engine.tiling import Tiling
from edgewise.engine.workspace import Workspace

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

    def space(self, workspace: Workspace) -> Workspace:
        """Where the inputs are made: in memory that is used again, unless they are what is given out."""
        return workspace


@final
class Unchanged(Transform):
    """The inputs themselves."""

    def __call__(self, mixed: Tensor) -> Tensor:
        return mixed

    def space(self, workspace: Workspace) -> Workspace:
        return Workspace()

    def pull(self, gradient: Tensor, mixed: Callable[[], Tensor]) -> Tensor:
        return gradient


@final
@dataclass(frozen=True)
class ReadPlan:
    """What to read: `mask` [mask, row, reader], `base` [token, d_model] under it, at which tokens.

    `first`: row and reader, of all that are read in the run, where this mask begins.

    `base` is the replaced stream, what a reader gets where its mask is zero.
    `tokens` None means all; `transform` maps [mask, reader, token, d_model] to [mask, reader, token, ·], token by token. Of
    the last `handed_on` readers the bare sum is handed on, without base, to be completed when more rows are put.
    A mask of four axes, [mask, example, row, reader], holds one for each example: tokens come example by example, as many
    of each.
    """

    mask: Tensor
    base: Tensor
    tokens: Tensor | None
    transform: Transform
    first: tuple[int, int] = (0, 0)
    handed_on: int = 0

    @property
    def rows(self) -> slice:
        """Which rows are read."""
        return slice(self.first[0], self.first[0] + self.mask.shape[-2])

    @property
    def columns(self) -> slice:
        """For which readers."""
        return slice(self.first[1], self.first[1] + self.mask.shape[-1])

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

    def pieces(self, tiling: Tiling) -> list[Piece]:
        """The work, cut so that a piece stays in cache: several masks at a time if they are small, else tokens of one."""
        masks, (rows, readers) = len(self.mask), self.mask.shape[-2:]
        per_token = (rows + 2 * readers) * self.base.shape[-1] * self.base.itemsize
        if self.of_each is not None:
            return [(slice(m, m + 1), chunk) for m in range(masks) for chunk in self._whole_examples(tiling, per_token)]
        tokens = list(tiling.chunks(self.count, per_token))
        if len(tokens) > 1:
            return [(slice(m, m + 1), chunk) for m in range(masks) for chunk in tokens]
        return [(chunk, tokens[0]) for chunk in tiling.chunks(masks, per_token * self.count)]

    def masks(self, piece: Piece) -> Tensor:
        """The masks of a piece: [mask, row, reader], or of each of its examples, [example, row, reader]."""
        return self._of_piece(self.mask, piece)

    def gradient(self, of_all: Tensor, piece: Piece) -> Tensor:
        """The part for the masks of a piece of a gradient of all that is read in the run, a view."""
        return self._of_piece(of_all[..., self.rows, self.columns], piece)

    def _of_piece(self, mask: Tensor, piece: Piece) -> Tensor:
        masks, tokens = piece
        return mask[masks] if self.of_each is None else mask[masks][0, self._examples(tokens)]

    def split(self, x: Tensor) -> Tensor:
        """[mask, ·, token, ·] of a piece as its masks see it: with masks of each example, [example, ·, its token, ·]."""
        return x if self.of_each is None else x[0].unflatten(1, (-1, self.of_each)).transpose(0, 1)

    def merge(self, x: Tensor) -> Tensor:
        """The inverse of `split`."""
        return x if self.of_each is None else x.transpose(0, 1).flatten(1, 2)[None]

    def rows_of(self, buffer: Tensor, piece: Piece) -> Tensor:
        """The rows of a buffer that a piece reads, [mask|example, row, token·d_model]: a view where all tokens are read."""
        masks, tokens = piece
        where = tokens if self.tokens is None else self.tokens[tokens]
        return self.split(buffer[masks, self.rows, where]).flatten(2)

    def _whole_examples(self, tiling: Tiling, per_token: int) -> Iterator[slice]:
        each = self.of_each or 1
        for chunk in tiling.chunks(self.mask.shape[1], per_token * each):
            yield slice(chunk.start * each, chunk.stop * each)

    def _examples(self, tokens: slice) -> slice:
        each = self.of_each or 1
        return slice(tokens.start // each, tokens.stop // each)
