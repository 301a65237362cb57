"""Where a layer keeps its q, k and v projections, and how their outputs split into heads.

All layouts speak one language: `[..., reader, d_head]`, the readers of the layer in graph order (q heads, k heads, v heads).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from edgewise.models.weights import effective, is_stored, outputs


@final
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
    """The q, k and v projections of one attention module.

    `counts`: attributes of that module which grow with the number of heads it runs, and which its code goes by.
    """

    attention: Any
    names: tuple[str, ...]
    heads: int
    kv_heads: int
    counts: tuple[str, ...] = ()
    # The module, if there is one, that norms all keys of a layer as one vector.
    key_norm: ClassVar[str] = ""

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The projection modules, in the order `join` and `split` use."""
        return tuple(self.attention.get_submodule(name) for name in self.names)

    @classmethod
    def layout(cls, heads: int, kv_heads: int) -> tuple[int, ...]:
        """How many heads the output of each module holds, in the order of the modules."""
        return (heads + 2 * kv_heads,)

    @property
    def together(self) -> int:
        """How many kv-heads have to run at once: as many as a norm of queries or keys spans."""
        return 1

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

    def rows(self, slots: list[int] | slice | Tensor) -> tuple[Tensor, Tensor | None]:
        """Weight [slot, d_head, d_model] and bias [slot, d_head] of some readers, given by their slots in the layer."""
        parts = self.parts()
        weight = torch.cat([part.weight for part in parts]) if len(parts) > 1 else parts[0].weight
        biases = [part.bias for part in parts if part.bias is not None]
        bias = None if not biases else torch.cat(biases) if len(biases) > 1 else biases[0]
        return weight[slots], None if bias is None else bias[slots]

    def rows_later(self, slots: list[int] | slice | Tensor) -> Callable[[], tuple[Tensor, Tensor | None]]:
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

    def running(self, slot: int) -> tuple[list[int], list[int]]:
        """The kv-heads that have to run again when what the reader at `slot` reads changes, and their query heads."""
        group, heads = self.group_of(slot)
        return ([group], heads) if self.together == 1 else ([*range(self.kv_heads)], [*range(self.heads)])

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
    def narrowed(self, groups: Sequence[int]) -> Iterator[None]:
        """While inside, the attention module accepts outputs of the heads of these groups alone."""
        share = len(self.heads_of(groups))
        counts = {name: getattr(self.attention, name) * share // self.heads for name in self.counts}
        with changed(self.attention, counts):
            yield

    def heads_of(self, groups: Sequence[int]) -> list[int]:
        """The query heads of some groups, in their order."""
        return [head for group in groups for head in self.group_of(self.heads + group)[1]]

    def ungroup(self) -> None:
        """Tell an attention whose k and v rows were repeated for all query heads of a group that it has no groups now."""
        counts = {"num_key_value_groups": 1, "num_key_value_heads": self.heads}
        for name, count in counts.items():
            if hasattr(self.attention, name):
                setattr(self.attention, name, count)


class Separate(Projections):
    """A layout with three modules for q, k and v (Llama, Mistral, Qwen, Gemma)."""

    @classmethod
    def layout(cls, heads: int, kv_heads: int) -> tuple[int, ...]:
        return heads, kv_heads, kv_heads

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


@final
class SeparateSpanned(Separate):
    """Three modules, and norms that span all queries and all keys of a layer (OLMo-2, OLMo-3)."""

    key_norm: ClassVar[str] = "k_norm"

    @property
    def together(self) -> int:
        return self.kv_heads


class FusedBlocks(Projections):
    """A layout with one module, whose output is all q, then all k, then all v (GPT-2)."""

    def parts(self) -> list[Part]:
        return [_part(self.modules[0], 0, self.readers)]

    def split(self, outputs: list[Tensor]) -> Tensor:
        return outputs[0].unflatten(-1, (self.readers, -1))

    def join(self, heads: Tensor, kv_heads: int) -> list[Tensor]:
        return [heads.flatten(-2)]


@final
class FusedUneven(FusedBlocks):
    """One module whose output is all q, then fewer k and v, told apart by the config's count of heads (Phi-3)."""

    @contextmanager
    def narrowed(self, groups: Sequence[int]) -> Iterator[None]:
        config = copy(self.attention.config)
        object.__setattr__(config, "num_attention_heads", len(self.heads_of(groups)))  # also where it is frozen
        with super().narrowed(groups), changed(self.attention, {"config": config}):
            yield


@final
class FusedHeads(Projections):
    """A layout with one module, whose output is q, k and v of the first head, then of the second, … (GPT-NeoX)."""

    def parts(self) -> list[Part]:
        weight, bias = effective(self.modules[0])
        weights = weight.unflatten(0, (self.heads, 3, -1))
        biases = None if bias is None else bias.unflatten(0, (self.heads, 3, -1))
        return [Part(i * self.heads, weights[:, i], None if biases is None else biases[:, i]) for i in range(3)]

    def split(self, outputs: list[Tensor]) -> Tensor:
        return outputs[0].unflatten(-1, (self.heads, 3, -1)).transpose(-3, -2).flatten(-3, -2)

    def join(self, heads: Tensor, kv_heads: int) -> list[Tensor]:
        return [heads.unflatten(-2, (3, kv_heads)).transpose(-3, -2).flatten(-3)]


@contextmanager
def changed(owner: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """While inside, some attributes of `owner` have these values."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def _part(module: nn.Module, start: int, readers: int) -> Part:
    weight, bias = effective(module)
    return Part(start, weight.unflatten(0, (readers, -1)), None if bias is None else bias.unflatten(0, (readers, -1)))
