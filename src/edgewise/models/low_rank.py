"""Kinds of peft: a linear map with low-rank adapters beside it, or one that was trained as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from edgewise.errors import UnsupportedModel
from edgewise.models.kinds import Kind, Matrix, is_of


@final
@dataclass(frozen=True)
class WithLora(Kind):
    """A layer of an `inner` kind with low-rank adapters beside it: W + Σ scaling · B A over those switched on.

    One with a magnitude (DoRA) scales the rows of W + scaling · B A to a norm of its own.
    """

    inner: tuple[Kind, ...]

    def claims(self, module: nn.Module) -> bool:
        of_lora = type(module).__module__.startswith("peft.tuners.lora.") and is_of(type(module), "peft", "LoraLayer")
        return of_lora and any(kind.claims(module.base_layer) for kind in self.inner)  # type: ignore[arg-type]

    def read(self, module: Any) -> Matrix:
        base = weight, bias = _read(self.inner, module.base_layer)
        if module.merged and module.disable_adapters:
            raise UnsupportedModel(
                "the next run would take adapters that are merged and switched off out of the weights; "
                "call unmerge_adapter first"
            )
        if module.merged or module.disable_adapters:
            return base
        for name in module.active_adapters:
            if name in module.lora_A:
                more, shift = _low_rank(module, name, base.weight)
                weight = weight + more
                if shift is not None:
                    bias = shift if bias is None else bias + shift
        return Matrix(weight, bias)

    def rounds_to(self, module: Any) -> torch.dtype | None:
        return next((part.weight.dtype for part in module.lora_B.values()), None)


@final
@dataclass(frozen=True)
class Saved(Kind):
    """A layer of an `inner` kind that was trained as a whole, beside the one it stands for."""

    inner: tuple[Kind, ...]

    def claims(self, module: nn.Module) -> bool:
        if not is_of(type(module), "peft", "ModulesToSaveWrapper"):
            return False
        return any(kind.claims(module.original_module) for kind in self.inner)  # type: ignore[arg-type]

    def read(self, module: Any) -> Matrix:
        off = module.disable_adapters or not module.active_adapters
        return _read(self.inner, module.original_module if off else module.modules_to_save[module.active_adapters[0]])


def _read(kinds: tuple[Kind, ...], module: nn.Module) -> Matrix:
    return next(kind for kind in kinds if kind.claims(module)).read(module)


def _low_rank(module: Any, name: str, base: Tensor) -> tuple[Tensor, Tensor | None]:
    """What an adapter of that name adds to the matrix `base` and to its bias."""
    variant = getattr(module, "lora_variant", {}).get(name)
    magnitudes = getattr(module, "lora_magnitude_vector", {})
    if (kind := type(variant).__name__) not in ("NoneType", "DoraLinearVariant"):
        raise UnsupportedModel(
            f"the adapter {name} is a {kind} of peft; only LoRA and DoRA are supported; merge it, or leave it out"
        )
    scaling, up = module.scaling[name], module.lora_B[name]
    more = (up.weight @ module.lora_A[name].weight).to(torch.promote_types(base.dtype, up.weight.dtype)) * scaling
    shift = None if up.bias is None else up.bias * scaling
    if name not in magnitudes:
        return more, shift
    size = magnitudes[name].weight / (base + more).norm(dim=1)
    return (size[:, None] - 1) * base + size[:, None] * more, None if shift is None else size * shift
