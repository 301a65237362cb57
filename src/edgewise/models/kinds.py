"""The contract of a kind: one way in which a linear map keeps its matrix; and the plain ones.

A class of a library is told by its name, so that no library is imported that a model does not need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class Matrix(NamedTuple):
    """What a linear map does to x: x · weightᵀ + bias. `weight` [out, in], `bias` [out] or None."""

    weight: Tensor
    bias: Tensor | None


class Kind(ABC):
    """One way of keeping the matrix of a linear map."""

    @abstractmethod
    def claims(self, module: nn.Module) -> bool:
        """Whether a module keeps its matrix this way."""

    @abstractmethod
    def read(self, module: Any) -> Matrix:
        """The matrix; UnsupportedModel where the module does something that no matrix does."""

    def minded(self, module: Any) -> AbstractContextManager[None]:
        """In place while edgewise runs the module: what it needs to compute what its matrix says, and to stay as it is."""
        return nullcontext()

    def rounds_to(self, module: Any) -> torch.dtype | None:
        """The dtype that its products are about as exact as, if that is not the model's own."""
        return None


@final
class Plain(Kind):
    """A matrix that lies there as it is applied; nothing has to be made."""

    def claims(self, module: nn.Module) -> bool:
        if type(module) is Conv1D:
            return True
        return isinstance(module, nn.Linear) and inherits_forward(module) and _is_plain(module.weight)

    def read(self, module: Any) -> Matrix:
        weight = module.weight.detach()
        bias = None if module.bias is None else module.bias.detach()
        return Matrix(weight.T if isinstance(module, Conv1D) else weight, bias)


@final
class Subclass(Kind):
    """A subclass of nn.Linear with a forward of its own; whether it applies its weight is seen by trying (`check`)."""

    def claims(self, module: nn.Module) -> bool:
        return isinstance(module, nn.Linear) and _is_plain(module.weight)

    def read(self, module: Any) -> Matrix:
        return Matrix(module.weight.detach(), without_gradient(module.bias))


def is_of(layer: type, library: str, name: str) -> bool:
    """Whether a class of layers is, or comes from, the one of that name in a library, which is not imported to find out."""
    return any(kind.__name__ == name and library_of(kind) == library for kind in layer.__mro__)


def library_of(kind: type) -> str:
    """The name of the library that a class is from."""
    return kind.__module__.partition(".")[0]


def inherits_forward(module: nn.Module) -> bool:
    """Whether a linear layer computes as nn.Linear does."""
    return type(module).forward is nn.Linear.forward


def without_gradient(bias: Tensor | None) -> Tensor | None:
    """A bias, if there is one, apart from any graph."""
    return None if bias is None else bias.detach()


def _is_plain(weight: Tensor) -> bool:
    """Whether a weight is a tensor of numbers, and none that is made of packed ones when it is used."""
    return weight.is_floating_point() and not hasattr(weight, "__tensor_flatten__")
