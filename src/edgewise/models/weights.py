"""Effective weights: the one matrix that a linear map really applies, however it is kept (models/kinds.py).

A projection may be a plain matrix, one in 8 or 4 bits, or one with low-rank adapters beside it. Matrices that have to be made
are made when they are asked for, a few are kept while a run lasts, and never those of a whole model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor, nn

from edgewise.errors import UnsupportedModel
from edgewise.models.few_bits import AsGguf, In4Bits, In8Bits, OfTorchAo
from edgewise.models.kinds import Kind, Matrix, Plain, Subclass, library_of
from edgewise.models.low_rank import Saved, WithLora
from edgewise.models.placement import is_away, present

PLAIN_KIND = Plain()
_INNER: tuple[Kind, ...] = (PLAIN_KIND, OfTorchAo(), In4Bits(), In8Bits(), AsGguf())
# Tried in this order: libraries subclass nn.Linear too.
KINDS: tuple[Kind, ...] = (*_INNER, WithLora(_INNER), Saved(_INNER), Subclass())

# How many matrices are kept that had to be made: the four of one layer.
KEPT = 4
# How many rows of random numbers a module is tried on, and how far it may be from its matrix.
ROWS = 4
NEAR = {torch.float64: 1e-5, torch.float32: 1e-3, torch.bfloat16: 0.05}


_kept: ContextVar[OrderedDict[nn.Module, Matrix] | None] = ContextVar("matrices kept", default=None)


def effective(module: nn.Module) -> Matrix:
    """The matrix a linear map applies, and its bias, in the dtype it is kept in; UnsupportedModel for what is no such map."""
    if is_stored(module):
        return PLAIN_KIND.read(module)
    kept = _kept.get()
    if kept is None:
        return read(module)
    if module not in kept:
        while len(kept) >= KEPT:  # before another is made, so that there are never more
            kept.popitem(last=False)
        kept[module] = read(module)
    kept.move_to_end(module)
    return kept[module]


@torch.no_grad()
def read(module: nn.Module) -> Matrix:
    """The matrix of a module, made anew; UnsupportedModel where no kind claims it."""
    for kind in KINDS:
        if kind.claims(module):
            with present(module):
                return kind.read(module)
    raise UnsupportedModel(unreadable(module))


def unreadable(module: nn.Module) -> str:
    """What is said of a module that no kind claims."""
    return (
        f"{type(module).__name__} ({library_of(type(module))}) is not a linear layer that edgewise can read; it reads "
        "plain ones, LoRA adapters of peft, weights in 8 or 4 bits of torchao and bitsandbytes, and GGUF blocks; "
        "load the model unquantised, or merge its adapters"
    )


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear map of a known kind: one of which that need not be tried."""
    return any(kind.claims(module) for kind in KINDS[:-1])


@contextmanager
def keeping() -> Iterator[None]:
    """While inside, during which weights must not change, the matrices made last are kept."""
    if _kept.get() is not None:
        yield
        return
    token = _kept.set(OrderedDict())
    try:
        yield
    finally:
        _kept.reset(token)


def is_stored(module: nn.Module) -> bool:
    """Whether the matrix of a module lies there as it is applied, so that it costs nothing to hold on to."""
    return PLAIN_KIND.claims(module) and not is_away(module)


def outputs(module: nn.Module) -> int:
    """How many numbers a linear map gives, without its matrix being made."""
    return int(getattr(module, "nf", None) or module.out_features)  # type: ignore[arg-type]


def linear_maps(module: nn.Module, path: str = "") -> dict[str, nn.Module]:
    """The linear maps inside a module, by name; what they are made of is not looked into."""
    if is_linear(module):
        return {path: module}
    children = (linear_maps(part, f"{path}.{name}" if path else name) for name, part in module.named_children())
    return {name: part for maps in children for name, part in maps.items()}


def check(module: nn.Module, where: str, dtype: torch.dtype, device: torch.device | None) -> None:
    """UnsupportedModel unless a module, tried on random numbers, gives and hands back as gradients what its matrix says."""
    if PLAIN_KIND.claims(module):
        return
    weight, bias = (None if part is None else part.to(device, dtype) for part in effective(module))
    assert weight is not None
    generator = torch.Generator().manual_seed(0)
    x, pulled = (torch.randn(ROWS, width, generator=generator).to(device, dtype) for width in weight.T.shape)
    try:
        with torch.enable_grad():
            out = module(x.requires_grad_())
        gradient = torch.autograd.grad(out, x, pulled)[0]
    except (RuntimeError, NotImplementedError, AssertionError, TypeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _refusal(module, where, f"cannot be run with gradients: {first}") from error
    ours = x.detach() @ weight.T + (0 if bias is None else bias)
    near = NEAR.get(rounds_to(module, dtype), NEAR[torch.bfloat16])
    if _distance(out, ours) > near:
        raise _refusal(module, where, "gives something else than its weight and bias do")
    if _distance(gradient, pulled @ weight) > near:
        raise _refusal(module, where, "hands back other gradients than its weight does")


def compute_dtype(model: nn.Module) -> torch.dtype:
    """The dtype a model computes in: that of its first weight that is no packed integer."""
    return next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())


def stored_parts(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors that a tensor is kept as: itself, or of one in few bits its integers and scales."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:  # type: ignore[operator]
        yield from stored_parts(getattr(tensor, name))


def rounds_to(module: nn.Module, dtype: torch.dtype) -> torch.dtype:
    """The dtype that products inside a module or a model of `dtype` are about as exact as."""
    claimed = ((kind, part) for part in module.modules() for kind in KINDS if kind.claims(part))
    dtypes = {kind.rounds_to(part) or dtype for kind, part in claimed}
    return min(dtypes, key=lambda candidate: candidate.itemsize, default=dtype)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """While inside, the model's layers compute what their matrices say, with gradients, and change nothing in themselves."""
    with ExitStack() as stack:
        for module in model.modules():
            if _from_library(type(module)):
                for kind in KINDS:
                    if kind.claims(module):
                        stack.enter_context(kind.minded(module))
        yield


@cache
def _from_library(layer: type[nn.Module]) -> bool:
    """Whether a class of layers is none of torch's or transformers' own, which need no minding."""
    return library_of(layer) not in ("torch", "transformers")


def _distance(native: Tensor, ours: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    native, ours = native.detach().double(), ours.double()
    return float((native - ours).abs().max() / ours.abs().max().clamp(min=1e-30))


def _refusal(module: nn.Module, where: str, what: str) -> UnsupportedModel:
    name = f"{type(module).__name__} ({library_of(type(module))})"
    return UnsupportedModel(f"{name} in {where} {what}; load the model with plain weights, or merge its adapters")
