"""A model split over two devices without an accelerator: its first layer on the CPU, all others elsewhere.

Elsewhere is a device of our own (`benchmarks/other_device.py`), which refuses to be mixed with the CPU. As an accelerator's
libraries do, hooks of the model's own move what goes into a block, the last norm and the unembedding; nothing else moves by
itself.
"""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.other_device import ELSEWHERE, moved
from support.families import CONFIGS, make_model, subject_of
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from edgewise.models import Subject


def split_model(family: str, *, first: int = 1, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A tiny model of a family, with the layers from `first` on and the last norm elsewhere, as its unembedding if untied."""
    model = make_model(CONFIGS[family](), dtype=dtype)
    on = subject_of(model)
    unembedding: Any = model.get_output_embeddings()  # type: ignore[operator]
    far: list[nn.Module] = [block.module for block in on.blocks[first:]] + [on.final_norm.module]
    if unembedding.weight is not next(model.parameters()):
        far.append(unembedding)
    for module in (*(block.module for block in on.blocks), on.final_norm.module, unembedding):
        device = ELSEWHERE if module in far else torch.device("cpu")
        if module in far:
            moved(module)
        module.register_forward_pre_hook(_bringing(device), with_kwargs=True)
    return model


def split(family: str, *, first: int = 1, dtype: torch.dtype = torch.float32) -> Subject:
    """The Subject of such a model."""
    return subject_of(split_model(family, first=first, dtype=dtype))


def _bringing(device: torch.device) -> Any:
    def bring(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, (args, kwargs))

    return bring
