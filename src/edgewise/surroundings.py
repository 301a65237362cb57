"""Neutral surroundings: what a caller has set in torch changes no result.

Autocast, inference mode, a default dtype or a default device may have been left on by the caller, or by another package.
Inside `neutral` they are off; afterwards they are as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar, final

import torch

P = ParamSpec("P")
R = TypeVar("R")


@final
@dataclass
class _Float32ByDefault:
    """The default dtype is that of all threads: the first inside sets it, the last one out puts back what was there."""

    inside: int = 0
    before: torch.dtype = torch.float32
    turn: Any = field(default_factory=Lock)

    def __enter__(self) -> None:
        with self.turn:
            if not self.inside:
                self.before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.turn:
            self.inside -= 1
            if not self.inside:
                torch.set_default_dtype(self.before)


_float32_by_default = _Float32ByDefault()


@contextmanager
def neutral(*device_types: str) -> Iterator[None]:
    """While inside, inference mode and autocast (on the CPU and these devices) are off, and float32 and the CPU are default.

    Whether gradients are on stays as it is.
    """
    gradients = torch.is_grad_enabled()
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(mode=False))
            stack.enter_context(torch.set_grad_enabled(gradients))
        for kind in {"cpu", *device_types}:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_float32_by_default)
        yield


def neutrally(verb: Callable[P, R]) -> Callable[P, R]:
    """The function, in neutral surroundings."""

    @wraps(verb)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with neutral():
            return verb(*args, **kwargs)

    return inside
