"""Counts the bytes that live at once while something runs: of every storage that an operation makes, until it is let go."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from benchmarks.other_device import Elsewhere, listening


@dataclass
class LiveBytes:
    """What has been made since counting began and is still there, and the most there was of it at once, in bytes."""

    now: int = 0
    peak: int = 0
    _known: set[int] = field(default_factory=set)

    def made(self, outputs: Any) -> None:
        """What an operation gives; views and what is known already count once."""
        for x in tree_flatten(outputs)[0]:
            if isinstance(x, Tensor):
                self._add(x.untyped_storage())
        self.peak = max(self.peak, self.now)

    def _add(self, storage: Any) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place not in self._known:
            self._known.add(place)
            self.now += size
            weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.now -= size


class _Here(TorchDispatchMode):
    def __init__(self, count: LiveBytes) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)}
        made = [x for x in tree_flatten(out)[0] if isinstance(x, Tensor)]
        self.count.made([x for x in made if x.untyped_storage()._cdata not in given])
        return out


@contextmanager
def live_bytes_elsewhere() -> Iterator[LiveBytes]:
    """Counts what is made on the device of our own while inside."""
    count = LiveBytes()

    def hear(name: str, inputs: Any, outputs: Any) -> None:
        given = {x.untyped_storage()._cdata for x in tree_flatten(inputs)[0] if isinstance(x, Elsewhere)}
        made = [x for x in tree_flatten(outputs)[0] if isinstance(x, Elsewhere)]
        count.made([x for x in made if x.untyped_storage()._cdata not in given])

    with listening(hear):
        yield count


@contextmanager
def live_bytes() -> Iterator[LiveBytes]:
    """Counts what is made while inside; what was there before, weights among it, does not count."""
    count = LiveBytes()
    with _Here(count):
        yield count
