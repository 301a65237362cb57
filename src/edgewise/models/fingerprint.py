"""fingerprint: by what a model that has changed is told, at the price of a small fraction of a run."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.models.text_config import text_config
from edgewise.models.weights import stored_parts

# How many numbers of each tensor are looked at, evenly spread: an edit of `tensor.data` leaves no other trace.
SAMPLES = 64


@torch.no_grad()
def fingerprint(model: nn.Module) -> tuple[Any, ...]:
    """What is equal for a model at two times if nothing was done to it between them.

    Parameters and buffers: where they lie, how often they were changed in place, and some of their numbers; hooks; methods
    that were put in the place of a module's own; the config. Not seen is a change through `tensor.data` of fewer than one in
    `SAMPLES` of a tensor's numbers, side by side.
    """
    parts = [(name, part) for name, tensor in _tensors(model) for part in stored_parts(tensor)]
    return (
        tuple(_tensor(name, part) for name, part in parts),
        _some_numbers([part for _, part in parts]),
        tuple(fact for name, module in model.named_modules() for fact in _hooks(name, module)),
        _config(model),
    )


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _tensor(name: str, tensor: Tensor) -> tuple[Any, ...]:
    version = None if tensor.is_inference() else tensor._version
    place = 0 if tensor.is_meta or tensor.layout is not torch.strided else tensor.data_ptr()
    return name, tuple(tensor.shape), tensor.dtype, str(tensor.device), version, place


def _some_numbers(parts: list[Tensor]) -> tuple[bytes, ...]:
    """Digests of numbers of all tensors, brought from each device at once."""
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    for part in parts:
        if not part.is_meta and part.layout is torch.strided and part.numel() and part.is_contiguous():
            alike[part.device, part.dtype].append(part.detach().view(-1)[:: -(-part.numel() // SAMPLES)])
    numbers = (torch.cat(some).cpu().view(torch.uint8).numpy() for some in alike.values())
    return tuple(hashlib.sha1(some.tobytes(), usedforsecurity=False).digest() for some in numbers)


def _hooks(name: str, module: nn.Module) -> Iterator[tuple[Any, ...]]:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    if any(hooks) or "forward" in module.__dict__:
        yield name, *(tuple(some) for some in hooks), id(module.__dict__.get("forward"))


def _config(model: nn.Module) -> tuple[tuple[str, str], ...]:
    """Every attribute, private ones too: which attention a model runs is one of them."""
    configs = (getattr(model, "config", None), text_config(model))
    return tuple((name, repr(value)) for config in configs for name, value in vars(config).items())
