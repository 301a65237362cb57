"""A model split over two devices without an accelerator: its first layers where tokens enter, all others on another device.

One of the two is the CPU, the other a device of our own (`benchmarks/other_device.py`), which refuses to be mixed with it. As
libraries do, hooks of the model's own move what goes into a block, the last norm and the unembedding; nothing else moves.
"""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.other_device import ELSEWHERE, Elsewhere, moved
from support.families import CONFIGS, make_model, subject_of
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from edgewise.models import Subject

CPU = torch.device("cpu")


def split(family: str, *, first: int = 1, home: torch.device = CPU) -> Subject:
    """A tiny model of a family, with the layers from `first` on and the last norm away from home, and an untied unembedding.

    With a home elsewhere an index that was left at home is an error too: one on the CPU may index what lies elsewhere.
    """
    model = make_model(CONFIGS[family]())
    on = subject_of(model)
    unembedding: Any = model.get_output_embeddings()  # type: ignore[operator]
    layers = [block.module for block in on.blocks]
    far: list[nn.Module] = [*layers[first:], on.final_norm.module]
    if unembedding.weight is not next(model.parameters()):
        far.append(unembedding)
    stays = {part for module in far for part in module.modules()}
    for part in model.modules():
        if (part in stays) == (home == CPU):
            _moved_alone(part)
    for module in (*layers, on.final_norm.module, unembedding):
        at_home = module not in far
        module.register_forward_pre_hook(_bringing(home if at_home else _other(home)), with_kwargs=True)
    return subject_of(model)


def _other(home: torch.device) -> torch.device:
    return ELSEWHERE if home == CPU else CPU


def _moved_alone(part: nn.Module) -> None:
    """The parameters and buffers of a module elsewhere, but not those of its parts, and none twice."""
    alone = nn.Module()
    alone._parameters = {
        name: x for name, x in part._parameters.items() if not isinstance(x, Elsewhere) and x is not None
    }
    alone._buffers = {name: x for name, x in part._buffers.items() if not isinstance(x, Elsewhere) and x is not None}
    moved(alone)
    part._parameters.update(alone._parameters)
    part._buffers.update(alone._buffers)


def _bringing(device: torch.device) -> Any:
    def bring(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, (args, kwargs))

    return bring
