"""A device that is elsewhere: tensors that say they lie there, compute on the CPU, and refuse to be mixed with its tensors.

As on an accelerator, an operation between tensors of two devices is an error, but for CPU scalars and CPU indices; so a
tensor made on the wrong device is found without one. The device is named "meta", which autograd knows how to serve.

What is `hollow` there has a shape and no values: a model far too large for this machine, of which only bytes are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, return_and_correct_aliasing

from edgewise.engine.peak import tensors
from edgewise.models import Subject

ELSEWHERE = torch.device("meta")
aten = torch.ops.aten
# These read CPU indices or copy between devices.
MIXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
COPYING = {aten.copy_.default, aten._to_copy.default}

# What is told of every operation there, by name, with its inputs and outputs; attention is one, as it is on an accelerator.
Listener = Callable[[str, Any, Any], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While inside, `listener` hears of every operation with a tensor that lies elsewhere."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _tell(name: str, inputs: Any, outputs: Any) -> None:
    for listener in _listeners:
        listener(name, inputs, outputs)


def mapped(change: Callable[[Any], Any], tree: Any) -> Any:
    """The same tuples, lists and dicts with everything in them changed."""
    if type(tree) in (tuple, list):
        return type(tree)(mapped(change, part) for part in tree)
    if type(tree) is dict:
        return {name: mapped(change, part) for name, part in tree.items()}
    return change(tree)


class Elsewhere(Tensor):
    """A tensor elsewhere; `held` are its values on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=ELSEWHERE,
            requires_grad=False,
        )
        made.held = inner
        return made

    def tolist(self) -> Any:
        _tell("aten.tolist", self, None)
        return self.held.tolist()

    def __repr__(self, **kwargs: Any) -> str:
        return f"Elsewhere({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat = tensors([args, kwargs])
    if any(x.device == ELSEWHERE and not isinstance(x, Elsewhere) for x in flat):
        raise RuntimeError(f"{func}: a tensor elsewhere holds nothing")
    there = any(isinstance(x, Elsewhere) for x in flat)
    target = kwargs.get("device")
    if func in COPYING:
        stays = there if target is None else torch.device(target) == ELSEWHERE
        if func is aten.copy_.default:
            stays = isinstance(args[0], Elsewhere)
    else:
        stays = there or (target is not None and torch.device(target) == ELSEWHERE)
        here = [x for x in flat if not isinstance(x, Elsewhere) and x.dim() > 0]
        if there and here and not (func in MIXING and isinstance(args[0], Elsewhere)):
            shapes = [tuple(x.shape) for x in here]
            raise RuntimeError(f"expected all tensors to be on the same device: {func} has {shapes} on the CPU")
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    inner_args, inner_kwargs = mapped(_unwrapped, (args, kwargs))
    if any(isinstance(x, Elsewhere) and x.held.device == ELSEWHERE for x in flat):
        out = _hollow(func, inner_args, inner_kwargs, stays)
    else:
        out = func(*inner_args, **inner_kwargs)
    if not stays or func is aten._local_scalar_dense.default:
        if there:
            _tell(str(func), args, out)
        return out
    wrapped = mapped(lambda x: Elsewhere(x) if isinstance(x, Tensor) else x, out)
    made = return_and_correct_aliasing(func, args, kwargs, wrapped)
    _tell(str(func), args, made)
    return made


def _hollow(func: Any, args: Any, kwargs: dict[str, Any], stays: bool) -> Any:
    """An operation with a tensor that has no values: neither has what it makes; what is brought here from it is ones."""
    if func is aten._local_scalar_dense.default:
        return 1
    if not stays:
        return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
    args, kwargs = mapped(lambda x: x.to(ELSEWHERE) if isinstance(x, Tensor) else x, (args, kwargs))
    return func(*args, **{**kwargs, **({"device": ELSEWHERE} if "device" in kwargs else {})})


def _unwrapped(x: Any) -> Any:
    return x.held if isinstance(x, Elsewhere) else x


class _Literals(TorchFunctionMode):
    """Numbers given as a tensor or as an index elsewhere are made here and moved: torch would make tensors that hold none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == ELSEWHERE:
            leaf = kwargs.pop("requires_grad", False)
            return func(*args, **{**kwargs, "device": torch.device("cpu")}).to(ELSEWHERE).requires_grad_(leaf)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], Elsewhere):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            moved_parts = tuple(torch.tensor(x).to(ELSEWHERE) if isinstance(x, list) else x for x in parts)
            args = (args[0], moved_parts, *args[2:])
        if func is functional.scaled_dot_product_attention and isinstance(args[0] if args else None, Elsewhere):
            return _Attention.apply(*args[:3], args[3:], kwargs)
        return func(*args, **kwargs)


class _Attention(torch.autograd.Function):
    """Fused attention: torch would spell it out for a device it has no kernel for."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, rest: Any, options: Any) -> Tensor:
        ctx.rest, ctx.options = mapped(_unwrapped, (rest, options))
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            held = functional.scaled_dot_product_attention(
                *map(_unwrapped, (query, key, value)), *ctx.rest, **ctx.options
            )
            held = held.transpose(1, 2).contiguous().transpose(1, 2)  # laid out as fused kernels do
        out = Elsewhere(held)
        ctx.save_for_backward(query, key, value, out)  # as a fused kernel does
        _tell("aten.scaled_dot_product_attention", (query, key, value), out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.enable_grad():
            inputs = [_unwrapped(x).detach().requires_grad_() for x in ctx.saved_tensors[:3]]
            out = functional.scaled_dot_product_attention(*inputs, *ctx.rest, **ctx.options)
            pulled = torch.autograd.grad(out, inputs, _unwrapped(gradients[0]))
        there = tuple(Elsewhere(x) for x in pulled)
        _tell("aten.scaled_dot_product_attention_backward", gradients, there)
        return (*there, None, None)


class _Factories(TorchDispatchMode):
    """What is made elsewhere from nothing, or copied to it, is an Elsewhere."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Inside, tensors can be made and models be moved elsewhere, though its name is that of no device of a user's."""
    with _Factories(), _Literals(), patch.object(Subject, "_refuse_unusual"):
        yield ELSEWHERE


def moved(model: nn.Module) -> nn.Module:
    """The model's parameters and buffers elsewhere, in place."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = nn.Parameter(Elsewhere(parameter.detach()), requires_grad=False)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = Elsewhere(buffer)
    return model
