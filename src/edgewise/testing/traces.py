"""What a call could leave behind: on a model, in torch, and in the sources of random numbers."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgewise.errors import InvalidValue


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything that a call could leave different, as comparable values by name."""
    state: dict[str, Any] = {
        "random numbers": torch.get_rng_state().tolist(),
        "random numbers of Python": random.getstate(),
        "random numbers of numpy": repr(np.random.get_state()),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            plain = isinstance(value, (int, float, str, bool, type(None)))
            state[f"{name}.{key}"] = list(value) if isinstance(value, dict) else value if plain else id(value)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        flags = (tensor.data_ptr(), tensor._version, tensor.requires_grad, tensor.grad is None)
        state[f"{name} itself"] = (*flags, _sum(tensor))
    return state


@contextmanager
def untouched(model: nn.Module, *tensors: Tensor) -> Iterator[None]:
    """InvalidValue, naming what changed, unless all is at the end as it was at the start; `tensors`: what was handed in."""
    before = {**state_of(model), "the pairs": [_sum(tensor) for tensor in tensors]}
    yield
    after = {**state_of(model), "the pairs": [_sum(tensor) for tensor in tensors]}
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise InvalidValue(f"changed: {', '.join(changed[:5])}")


@contextmanager
def other_random_numbers() -> Iterator[None]:
    """All sources of random numbers stand elsewhere inside, and where they were afterwards."""
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1234)
        random.seed(1234)
        np.random.seed(1234)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


def _sum(tensor: Tensor) -> int:
    """A checksum of what it holds."""
    values = tensor.detach().cpu().contiguous().reshape(-1)
    return zlib.crc32(values.view(torch.uint8).numpy().tobytes()) if values.numel() else 0
