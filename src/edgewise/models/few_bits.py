"""Kinds that keep a matrix in few bits: torchao, bitsandbytes, and the blocks of GGUF files. It is made when it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from edgewise.errors import UnsupportedModel
from edgewise.models.kinds import Kind, Matrix, inherits_forward, is_of, library_of, without_gradient


@final
class OfTorchAo(Kind):
    """A linear layer whose weight torchao keeps in few bits."""

    def claims(self, module: nn.Module) -> bool:
        return (
            isinstance(module, nn.Linear) and inherits_forward(module) and library_of(type(module.weight)) == "torchao"
        )

    def read(self, module: Any) -> Matrix:
        weight = module.weight
        activations = ("act_quant_kwargs", "activation_quantization", "act_quant_scale", "input_quant_func")
        if rounded := [name for name in activations if getattr(weight, name, None) is not None]:
            raise UnsupportedModel(
                f"{type(weight).__name__} of torchao also rounds its inputs ({rounded[0]}), so it is not a matrix and passes "
                "no gradient; quantise the weights only, as Int8WeightOnlyConfig does"
            )
        return Matrix(weight.detach().dequantize(), None if module.bias is None else module.bias.detach())


@final
class In4Bits(Kind):
    """Linear4bit of bitsandbytes."""

    def claims(self, module: nn.Module) -> bool:
        return is_of(type(module), "bitsandbytes", "Linear4bit")

    def read(self, module: Any) -> Matrix:
        from bitsandbytes.functional import dequantize_4bit

        state = getattr(module.weight, "quant_state", None) or module.quant_state
        if state is None:
            raise UnsupportedModel("a Linear4bit of bitsandbytes has no state yet; move the model to its device first")
        if getattr(state, "packing_format_for_cpu", False):
            raise UnsupportedModel(
                "bitsandbytes has packed the 4-bit weights for inference, through which no gradient passes; "
                "load the model again, and let edgewise be the first to run it"
            )
        return Matrix(dequantize_4bit(module.weight.data, state), without_gradient(module.bias))

    def minded(self, module: Any) -> AbstractContextManager[None]:
        # Without gradient it would pack its weights, in place, in a way that gradients do not pass.
        return replaced(module, "support_avx512bf16_for_cpu", False)

    def rounds_to(self, module: Any) -> torch.dtype | None:
        half = module.compute_dtype is not None and module.compute_dtype.itemsize < 4
        return torch.bfloat16 if half else None


@final
class In8Bits(Kind):
    """Linear8bitLt of bitsandbytes.

    Its kernel rounds what the layer reads to 8 bits as well, for all heads together, which no matrix does: in a run of
    edgewise only the weights are rounded.
    """

    def claims(self, module: nn.Module) -> bool:
        return is_of(type(module), "bitsandbytes", "Linear8bitLt")

    def read(self, module: Any) -> Matrix:
        if module.state.has_fp16_weights:
            return Matrix(module.weight.detach(), without_gradient(module.bias))
        # The scales of the rows move from the weight to the state when the module first runs.
        scales = module.state.SCB if module.state.SCB is not None else getattr(module.weight, "SCB", None)
        if scales is None:
            raise UnsupportedModel(
                "a Linear8bitLt of bitsandbytes has no scales yet; move the model to its device first"
            )
        return Matrix(module.weight.data.float() * (scales.float()[:, None] / 127), without_gradient(module.bias))

    def minded(self, module: Any) -> AbstractContextManager[None]:
        return replaced(module, "forward", lambda x: _Applied.apply(x, lambda: self.read(module)))


@final
class AsGguf(Kind):
    """GgufLinear of transformers, whose weight stays in the blocks of a GGUF file."""

    def claims(self, module: nn.Module) -> bool:
        return is_of(type(module), "transformers", "GgufLinear")

    def read(self, module: Any) -> Matrix:
        from transformers.integrations.gguf.kernels import dequantize_blocks

        rows, columns = module.out_features, module.in_features
        weight = dequantize_blocks(module.weight.data, module.ggml_type, rows, columns, torch.float32)
        if module.input_permutation is not None:
            weight = weight[:, module.input_permutation.argsort()]
        return Matrix(weight, without_gradient(module.bias))

    def rounds_to(self, module: Any) -> torch.dtype | None:
        return torch.bfloat16


@contextmanager
def replaced(module: Any, attribute: str, value: object) -> Iterator[None]:
    """The attribute of one instance has another value while inside."""
    before = module.__dict__.get(attribute, module)
    module.__dict__[attribute] = value
    try:
        yield
    finally:
        if before is module:
            del module.__dict__[attribute]
        else:
            module.__dict__[attribute] = before


@final
class _Applied(torch.autograd.Function):
    """x · weightᵀ + bias. The matrix is read again in the backward pass: nothing holds on to it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, read: Callable[[], Matrix]) -> Tensor:
        ctx.read = read
        weight, bias = read()
        return linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] @ ctx.read().weight.to(gradients[0].dtype), None
