"""StableLM: Llama's block with LayerNorm, serial, or with attention and MLP in parallel behind one norm.

With `qk_layernorm` every head has a norm of its own for its queries, every kv-head one for its keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import final

from torch import nn

from edgewise.models.llama import LLAMA
from edgewise.models.norms import NormKind
from edgewise.models.projections import Separate, changed


@final
class NormedHeads(Separate):
    """Three modules, whose outputs for q and k may pass a norm for each head."""

    @contextmanager
    def narrowed(self, groups: Sequence[int]) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(super().narrowed(groups))
            if self.attention.qk_layernorm:
                queries, keys = self.attention.q_layernorm, self.attention.k_layernorm
                for owner, chosen in ((queries, self.heads_of(groups)), (keys, groups)):
                    norms = nn.ModuleList(owner.norms[number] for number in chosen)
                    stack.enter_context(changed(owner, {"norms": norms}))
            yield

    def ungroup(self) -> None:
        super().ungroup()
        if self.attention.qk_layernorm:
            keys, times = self.attention.k_layernorm, self.heads // self.kv_heads
            keys.norms = nn.ModuleList(_twin(norm) for norm in keys.norms for _ in range(times))


def _twin(norm: nn.Module) -> nn.Module:
    """Another module with the same weights."""
    return deepcopy(norm, {id(parameter): parameter for parameter in norm.parameters()})


STABLELM = replace(
    LLAMA,
    name="stablelm",
    architectures=("StableLmForCausalLM",),
    projections=NormedHeads,
    norm=NormKind.LAYER,
    counts=("num_heads", "num_key_value_heads"),
    parallel="use_parallel_residual",
    parallel_norm="input_layernorm",
    handled={},
)
