"""Block: one layer of a model, bound to its modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from edgewise.models.hooks import Hook, Keep, OnInput, OnOutput
from edgewise.models.mlp import MLP
from edgewise.models.norms import Norm
from edgewise.models.placement import device_of
from edgewise.models.projections import Projections
from edgewise.models.weights import effective, is_stored


@final
@dataclass(frozen=True)
class Block:
    """One layer, bound to the modules of a model.

    `multiplier`: the attribute of `module` by which it multiplies all it adds to the residual stream; empty for none.
    """

    module: nn.Module
    attention_norm: Norm
    attention: nn.Module
    projections: Projections
    output: nn.Module
    attention_post: Norm | None
    mlp_norm: Norm | None
    mlp: MLP | None
    mlp_post: Norm | None
    multiplier: str = ""

    @property
    def device(self) -> torch.device | None:
        """Where the layer does its work; what `record` and gradients give of a layer lies there."""
        return device_of(self.output)

    @property
    def output_weight(self) -> Tensor:
        """[head, d_head, d_model]: what head h writes is z_h · output_weight[h], times the post norm's scale if any."""
        weight = effective(self.output)[0].T.unflatten(0, (self.projections.heads, -1))
        return self.multiplied(weight if self.attention_post is None else weight * self.attention_post.gain(weight))

    def output_weight_later(self) -> Callable[[], Tensor]:
        """What gives `output_weight` at any time; it holds on to it only where that costs nothing."""
        if not is_stored(self.output):
            return lambda: self.output_weight
        weight = self.output_weight
        return lambda: weight

    @property
    def output_bias(self) -> Tensor | None:
        """[d_model]: what the output projection's bias adds to the stream, which belongs to no head."""
        bias = effective(self.output)[1]
        return None if bias is None else self.multiplied(bias)

    @property
    def mlp_site(self) -> nn.Module | None:
        """The module whose output, multiplied, is what the MLP writes: its post norm if there is one."""
        if self.mlp is None:
            return None
        return self.mlp.steps[-1] if self.mlp_post is None else self.mlp_post.module

    def mlp_stream(self, action: Keep) -> list[Hook]:
        """Hooks for the residual stream that the MLP's norm reads; none without an MLP."""
        if self.mlp is None or self.mlp_norm is None:
            return []
        return [self.mlp.hook(OnInput(self.mlp_norm.module, action))]

    def mlp_normed(self, action: Keep) -> list[Hook]:
        """Hooks for what the MLP alone is given by its norm, which attention may read too; none without an MLP."""
        return [] if self.mlp is None else [self.mlp.hook(OnInput(self.mlp.steps[0], action))]

    def mlp_written(self, action: Keep) -> list[Hook]:
        """Hooks for what the MLP writes, before it is multiplied; none without one."""
        if self.mlp is None or self.mlp_site is None:
            return []
        return [self.mlp.hook(OnOutput(self.mlp_site, action))]

    def attention_write(self, stream: Tensor, context: dict[str, Any]) -> Tensor:
        """What the heads and the bias add to a stream [.., position, d_model], by the native modules."""
        result = self.attention(hidden_states=self.attention_norm(stream.to(self.device)), **context)
        return self.attention_added(result[0] if isinstance(result, tuple) else result)

    def attention_added(self, out: Tensor) -> Tensor:
        """What is added to the stream when the output projection gives `out`."""
        return self.multiplied(out if self.attention_post is None else self.attention_post(out))

    def mlp_write(self, stream: Tensor) -> Tensor:
        """What the MLP writes for a stream [(..,) token, d_model], by the native modules."""
        assert self.mlp is not None
        assert self.mlp_norm is not None
        normed = self.mlp_norm(stream.to(self.device))
        # A mixture of experts counts the axes of what it gets.
        out = self.mlp(normed) if normed.ndim > 2 else self.mlp(normed[None])[0]
        return self.multiplied(out if self.mlp_post is None else self.mlp_post(out))

    def multiplied(self, x: Tensor) -> Tensor:
        """As much of x as the block adds to the stream."""
        return x * getattr(self.module, self.multiplier) if self.multiplier else x

    def divided(self, x: Tensor) -> Tensor:
        """What the block multiplies to get x."""
        return x / getattr(self.module, self.multiplier) if self.multiplier else x
