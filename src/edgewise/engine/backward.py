"""Backward passes that differ from the derivative: forward values stay bit for bit what the model computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Pull = Callable[[Tensor], Tensor]


@final
@dataclass
class Seen:
    """How often a change was met in the forward pass, and how often a gradient passed it.

    Counted are the places at which gradients will pass, each once: not those of a run without gradients, nor, from when it is
    `complete`, those of what runs again.
    """

    forward: int = 0
    backward: int = 0
    complete: bool = False

    def met(self) -> None:
        """Another place."""
        self.forward += torch.is_grad_enabled() and not self.complete


def with_backward(x: Tensor, y: Tensor, pull: Pull) -> Tensor:
    """`y` as it is, for autograd a function of `x` whose gradient is `pull(gradient of y)`."""
    return _WithBackward.apply(x, y.detach(), pull)  # type: ignore[no-untyped-call]


@final
class _WithBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, pull: Pull) -> Tensor:
        ctx.pull = pull
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ctx.pull(gradients[0]), None, None


@final
@dataclass(frozen=True, eq=False)
class Attention:
    """The arguments of `scaled_dot_product_attention`, under the names and in the order they have there."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    @property
    def factor(self) -> float:
        """What products of queries and keys are multiplied by."""
        return self.query.shape[-1] ** -0.5 if self.scale is None else self.scale

    @property
    def bias(self) -> Tensor:
        """What is added to the attention scores: zeros, minus infinity where a query may not look, or the mask itself."""
        shape, mask = (self.query.shape[-2], self.key.shape[-2]), self.attn_mask
        if self.is_causal:
            mask = torch.ones(shape, dtype=torch.bool, device=self.query.device).tril()
        if mask is None:
            return self.query.new_zeros(shape)
        if mask.dtype != torch.bool:
            return mask
        return torch.zeros_like(mask, dtype=self.query.dtype).masked_fill(~mask, -torch.inf)


@final
class SoftmaxAtTemperature(TorchFunctionMode):
    """While active, the softmax of attention, fused or not, has the backward pass it would have at `temperature` t.

        x̄ = s ⊙ (ȳ − ⟨s, ȳ⟩),   s = softmax(x / t)

    At t = 1 this is the derivative. Above, attention scores that a nearly saturated softmax hides are seen.
    """

    def __init__(self, temperature: float, seen: Seen) -> None:
        super().__init__()
        self.temperature = temperature
        self.seen = seen

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            self.seen.met()
            return self._attention(func, Attention(*args, **kwargs))
        out = func(*args, **kwargs)
        # Of two axes it is a router's, that chooses experts.
        if func in (functional.softmax, torch.softmax, Tensor.softmax) and args[0].ndim > 2:
            self.seen.met()
            dim = kwargs["dim"] if "dim" in kwargs else args[1]
            return self._softmax(args[0], out, dim)
        return out

    def _softmax(self, x: Tensor, y: Tensor, dim: int) -> Tensor:
        def pull(gradient: Tensor) -> Tensor:
            self.seen.backward += 1
            softer = (x.detach().to(gradient.dtype) / self.temperature).softmax(dim)
            return (softer * (gradient - (softer * gradient).sum(dim, keepdim=True))).to(x.dtype)

        return with_backward(x, y, pull)

    def _attention(self, func: Any, call: Attention) -> Tensor:
        out = func(**vars(call))

        def spelt_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            group = query.shape[-3] // key.shape[-3]
            key, value = (x.repeat_interleave(group, dim=-3) for x in (key, value))
            scores = query @ key.transpose(-1, -2) * call.factor + call.bias
            return self._softmax(scores, scores.softmax(-1), -1) @ value

        return _Spelt.apply(call.query, call.key, call.value, out.detach(), spelt_out)  # type: ignore[no-untyped-call]


@final
class _Spelt(torch.autograd.Function):
    """`out` as it is; backward runs through `function`, which computes the same in steps that can be changed."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, out: Tensor, function: Any) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.function = function
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            out = ctx.function(*inputs)
        return (*torch.autograd.grad(out, inputs, gradients[0]), None, None)
