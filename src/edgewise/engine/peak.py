"""PeakBytes: how much memory the tensors that are made inside a block take together, counted as they come and go."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@final
class PeakBytes(TorchDispatchMode):
    """`peak`: the most bytes that were alive at once of the storages made inside on one device; `alive`: those that are now.

    What a kernel takes while it runs and gives back before it returns is not seen, nor what an allocator loses in gaps.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.peak = self.alive = 0
        self._device = device.type
        self._seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [tensor.untyped_storage() for tensor in _tensors(result) if tensor.device.type == self._device]
        if made:
            given = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs))}
            for storage in made:
                if storage._cdata not in given and storage._cdata not in self._seen:
                    self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        size, key = storage.nbytes(), storage._cdata

        def gone(_: Any) -> None:
            del self._seen[key]
            self.alive -= size

        self._seen[key] = weakref.ref(storage, gone)
        self.alive += size
        self.peak = max(self.peak, self.alive)


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors of what an operation is given or gives."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
