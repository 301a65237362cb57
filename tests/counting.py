"""Counts the whole native runs a call makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from edgewise.models import Subject


@contextmanager
def counting(on: Subject) -> Iterator[dict[str, int]]:
    """Counts whole native forwards and backwards, by hooks on the model, its last block and its last norm."""
    counts = {"forward": 0, "backward": 0, "last layer": 0}

    def count(what: str) -> None:
        counts[what] += 1

    def watch(module: Any, args: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: count("backward"))

    handles = [
        on.model.register_forward_hook(lambda *_: count("forward")),
        on.blocks[-1].output.register_forward_hook(lambda *_: count("last layer")),
        on.final_norm.module.register_forward_hook(watch),
    ]
    yield counts
    for handle in handles:
        handle.remove()
