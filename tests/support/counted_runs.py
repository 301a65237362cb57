"""Counts the whole native runs a call makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgewise.models import Subject


@contextmanager
def counting(on: Subject) -> Iterator[dict[str, int]]:
    """Counts whole native forwards and backwards, by hooks on the model and on its last block."""
    counts = {"forward": 0, "backward": 0, "last layer": 0}

    def count(what: str) -> None:
        counts[what] += 1

    def watch(module: Any, args: Any, output: Any) -> None:
        count("forward")
        if output.logits.requires_grad:
            output.logits.register_hook(lambda gradient: count("backward"))

    handles = [
        on.model.register_forward_hook(watch),
        on.blocks[-1].output.register_forward_hook(lambda *_: count("last layer")),
    ]
    # Hooks are a change of the model: it is looked at anew here, not in the call.
    widths = list(on._contexts._kept)
    with on.at_work():
        for width in widths:
            on.context(width)
    counts.update(dict.fromkeys(counts, 0))
    yield counts
    for handle in handles:
        handle.remove()
