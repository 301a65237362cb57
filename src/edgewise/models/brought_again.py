"""Weights that are brought for each call are not kept for the backward pass: they are brought once more when it reaches them.

Autograd keeps the weights that a product needs, and with them all layers of a model that is larger than the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from edgewise.models.placement import brings, present


@contextmanager
def brought_again(model: nn.Module) -> Iterator[None]:
    """While inside, the graph of a run holds no weights that are brought for each call."""
    away = [module for module in model.modules() if brings(module)]
    if not away:
        yield
        return
    running: list[nn.Module] = []

    def enter(module: nn.Module, args: Any) -> None:
        running.append(module)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        running.pop()

    with ExitStack() as stack:
        for module in away:
            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        stack.enter_context(saved_tensors_hooks(lambda saved: _packed(saved, running), _unpacked))
        yield


@final
@dataclass(frozen=True)
class _Weight:
    """A view of a weight: where to find that, and which part of it."""

    module: nn.Module
    name: str
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def _packed(saved: Tensor, running: list[nn.Module]) -> Tensor | _Weight:
    if not running or saved.layout != torch.strided:
        return saved
    for name, parameter in running[-1]._parameters.items():
        if (
            parameter is not None
            and not parameter.is_meta
            and parameter.data_ptr() == saved.untyped_storage().data_ptr()
        ):
            return _Weight(running[-1], name, saved.size(), saved.stride(), int(saved.storage_offset()))
    return saved


def _unpacked(kept: Tensor | _Weight) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    with present(kept.module):
        weight = kept.module._parameters[kept.name]
        assert weight is not None
        return weight.detach().as_strided(kept.size, kept.stride, kept.offset)
