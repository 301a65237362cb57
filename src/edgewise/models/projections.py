"""Where a layer keeps its q, k and v projections, and how their outputs split into heads.

All layouts speak one language: `[..., reader, d_head]`, the readers of the layer in graph order (q heads, k heads, v heads).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.models.weights import effective, is_stored, outputs


@dataclass(frozen=True)
class Part:
    """Weights of consecutive readers: `weight` [reader, d_head, d_model], `bias` [reader, d_head] or None."""

    start: int
    weight: Tensor
    bias: Tensor | None

    @property
    def stop(self) -> int:
        """Index after the last reader."""
        return self.start + len(self.weight)


@dataclass(frozen=True)
class Projections(ABC):
    """The q, k and v projections of one attention module."""

    attention: Any
    names: tuple[str, ...]
    heads: int
    kv_heads: int

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The projection modules, in the order `join` and `split` use."""
        return tuple(self.attention.get_submodule(name) for name in self.names)

    @property
    def readers(self) -> int:
        """How many readers the layer's attention has."""
        return self.heads + 2 * self.kv_heads

    @property
    def d_head(self) -> int:
        """How many numbers a reader of the layer's attention gives."""
        return sum(map(outputs, self.modules)) // self.readers

    @property
    def stored(self) -> bool:
        """Whether the weights lie there as they are applied, and cost nothing to hold on to; else they are made."""
        return all(map(is_stored, self.modules))

    def rows(self, slots: list[int]) -> tuple[Tensor, Tensor | None]:
        """Weight [slot, d_head, d_model] and bias [slot, d_head] of some readers, given by their slots in the layer."""
        parts = self.parts()
        weight = torch.cat([part.weight for part in parts]) if len(parts) > 1 else parts[0].weight
        biases = [part.bias for part in parts if part.bias is not None]
        bias = torch.cat(biases) if biases else None
        if len(slots) == len(weight):
            return weight, bias
        return weight[slots], None if bias is None else bias[slots]

    def rows_later(self, slots: list[int]) -> Callable[[], tuple[Tensor, Tensor | None]]:
        """What gives the same at any time; it holds on to the weights only where that costs nothing."""
        if not self.stored:
            return partial(self.rows, slots)
        rows = self.rows(slots)
        return lambda: rows

    def group_of(self, slot: int) -> tuple[int, list[int]]:
        """The kv-head a slot belongs to, and the query heads that share it."""
        per_group = self.heads // self.kv_heads
        group = slot // per_group if slot < self.heads else (slot - self.heads) % self.kv_heads
        return group, list(range(group * per_group, (group + 1) * per_group))

    @abstractmethod
    def parts(self) -> list[Part]:
        """The weights, as views, in reader order."""

    @abstractmethod
    def split(self, outputs: list[Tensor]) -> Tensor:
        """The modules' outputs as [..., reader, d_head]."""

    @abstractmethod
    def join(self, heads: Tensor, kv_heads: int) -> list[Tensor]:
        """The modules' outputs for [..., reader, d_head] of a subset of `kv_heads` groups."""

    @contextmanager
    def narrowed(self, heads: int) -> Iterator[None]:
        """While inside, the attention module accepts outputs of only `heads` query heads."""
        yield


class Separate(Projections):
    """Three modules (Llama, Mistral, Qwen, Gemma)."""

    def parts(self) -> list[Part]:
        starts = (0, self.heads, self.heads + self.kv_heads)
        counts = (self.heads, self.kv_heads, self.kv_heads)
        return [_part(m, start, n) for m, start, n in zip(self.modules, starts, counts, strict=True)]

    def split(self, outputs: list[Tensor]) -> Tensor:
        d_head = outputs[0].shape[-1] // self.heads
        return torch.cat(outputs, dim=-1).unflatten(-1, (-1, d_head))

    def join(self, heads: Tensor, kv_heads: int) -> list[Tensor]:
        queries = heads.shape[-2] - 2 * kv_heads
        return [part.flatten(-2) for part in heads.split([queries, kv_heads, kv_heads], dim=-2)]


class FusedBlocks(Projections):
    """One module whose output is all q, all k, all v (GPT-2)."""

    def parts(self) -> list[Part]:
        return [_part(self.modules[0], 0, self.readers)]

    def split(self, outputs: list[Tensor]) -> Tensor:
        return outputs[0].unflatten(-1, (self.readers, -1))

    def join(self, heads: Tensor, kv_heads: int) -> list[Tensor]:
        return [heads.flatten(-2)]

    @contextmanager
    def narrowed(self, heads: int) -> Iterator[None]:
        full = self.attention.split_size
        self.attention.split_size = full // self.heads * heads
        try:
            yield
        finally:
            self.attention.split_size = full


class FusedHeads(Projections):
    """One module whose output is q, k, v of the first head, then of the second, … (GPT-NeoX)."""

    def parts(self) -> list[Part]:
        weight, bias = effective(self.modules[0])
        weights = weight.unflatten(0, (self.heads, 3, -1))
        biases = None if bias is None else bias.unflatten(0, (self.heads, 3, -1))
        return [Part(i * self.heads, weights[:, i], None if biases is None else biases[:, i]) for i in range(3)]

    def split(self, outputs: list[Tensor]) -> Tensor:
        return outputs[0].unflatten(-1, (self.heads, 3, -1)).transpose(-3, -2).flatten(-3, -2)

    def join(self, heads: Tensor, kv_heads: int) -> list[Tensor]:
        return [heads.unflatten(-2, (3, kv_heads)).transpose(-3, -2).flatten(-3)]


def _part(module: nn.Module, start: int, readers: int) -> Part:
    weight, bias = effective(module)
    return Part(start, weight.unflatten(0, (readers, -1)), None if bias is None else bias.unflatten(0, (readers, -1)))
