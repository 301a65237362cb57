"""Where the parts of a model do their work, and weights that are there only while a part runs.

A model that is larger than one device is dispatched by accelerate: its hooks give each module a device, and may keep its
weights in memory or on disk until the module is called. Between calls such weights lie on "meta" and hold nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.errors import UnsupportedModel

# The attribute under which accelerate keeps a module's hook.
HOOK = "_hf_hook"


def device_of(module: nn.Module) -> torch.device | None:
    """Where a module does its work: where its hook brings things, or its weights lie; None if it has neither."""
    for part in module.modules():
        if HOOK in part.__dict__ and (device := _named_by_hook(part)) is not None:
            return device
        for parameter in part._parameters.values():
            if parameter is not None:
                return parameter.device
    return None


def is_away(module: nn.Module) -> bool:
    """Whether weights of a module, or of what it is made of, are brought to it for each call."""
    return any(map(brings, module.modules()))


def brings(module: nn.Module) -> bool:
    """Whether weights of the module itself are brought to it for each call."""
    return HOOK in module.__dict__ and bool(_bringing(module))


@contextmanager
def present(module: nn.Module) -> Iterator[None]:
    """While inside, the weights of a module and of what it is made of are there."""
    brought: list[tuple[Any, nn.Module]] = []
    try:
        for part in module.modules():
            if HOOK in part.__dict__ and any(x is not None and x.is_meta for x in part._parameters.values()):
                for hook in _bringing(part):
                    brought.append((hook, part))
                    hook.pre_forward(part)
        yield
    finally:
        for hook, part in reversed(brought):
            hook.post_forward(part, None)


def stored(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All weights by name, in the order of names, one after the other as they are kept."""
    for name, tensor in sorted(model.state_dict().items()):
        path, _, own = name.rpartition(".")
        if not (isinstance(tensor, Tensor) and tensor.is_meta):
            yield name, tensor
            continue
        owner = model.get_submodule(path)
        with present(owner):
            yield name, owner._parameters.get(own, tensor) if own in owner._parameters else owner._buffers[own]  # type: ignore[misc]


def check_placement(model: nn.Module, layers: Sequence[nn.Module]) -> None:
    """UnsupportedModel for weights that nothing brings, devices between which nothing moves, and layers that are split."""
    if missing := [name for name, part in model.named_modules() if _holds_nothing(part)]:
        raise UnsupportedModel(
            f'{len(missing)} modules of the model have weights on "meta", which hold nothing, and no hook of their own that '
            f"brings them, the first being {missing[0] or 'the model itself'}; load it with weights, or by name with "
            'device_map="auto"'
        )
    devices = sorted({str(parameter.device) for parameter in model.parameters() if not parameter.is_meta})
    if len(devices) > 1 and not any(HOOK in part.__dict__ or part._forward_pre_hooks for part in model.modules()):
        raise UnsupportedModel(
            f"the model's weights are spread over {', '.join(devices)}, and nothing moves what they compute from one to the "
            'next; load it on one device, or by name with device_map="auto"'
        )
    for number, layer in enumerate(layers):
        parts = {str(device_of(part)) for part in layer.modules() if any(True for _ in part.parameters(recurse=False))}
        if len(parts) > 1:
            raise UnsupportedModel(
                f"layer {number} of the model is split over {', '.join(sorted(parts))}; give each layer one device"
            )


def keep_weights(module: nn.Module) -> None:
    """From now on the weights of a module are there where it does its work, and no hook brings them."""
    if HOOK in module.__dict__:
        from accelerate.hooks import remove_hook_from_module

        device = device_of(module)
        remove_hook_from_module(module)
        module.to(device)


def shared_maps(model: nn.Module) -> list[Any]:
    """What the hooks of a model keep of its weights, which copies of the modules may share."""
    kept = (hook for part in model.modules() for hook in _bringing(part))
    return [part for hook in kept for part in (hook.weights_map, hook.tied_params_map) if part is not None]


def _hooks(part: nn.Module) -> list[Any]:
    hook = part.__dict__.get(HOOK)
    return [] if hook is None else [*getattr(hook, "hooks", (hook,))]


def _bringing(part: nn.Module) -> list[Any]:
    """The hooks of a module that bring its own weights."""
    return [hook for hook in _hooks(part) if getattr(hook, "offload", False)]


def _named_by_hook(part: nn.Module) -> torch.device | None:
    named = (getattr(hook, "execution_device", None) for hook in _hooks(part))
    return next((torch.device(device) for device in named if device is not None), None)


def _holds_nothing(part: nn.Module) -> bool:
    empty = any(parameter.is_meta for parameter in part.parameters(recurse=False))
    return empty and not _bringing(part)
