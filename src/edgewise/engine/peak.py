"""PeakBytes: how much memory the tensors that are made inside a block take together, counted as they come and go."""

from __future__ import annotations

import weakref
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
        self.hear((args, kwargs), result)
        return result

    def hear(self, inputs: Any, outputs: Any) -> None:
        """What an operation was given, and what it gives: memory that is new counts, once."""
        made = [tensor.untyped_storage() for tensor in tensors(outputs) if tensor.device.type == self._device]
        if made:
            given = {tensor.untyped_storage()._cdata for tensor in tensors(inputs)}
            for storage in made:
                if storage._cdata not in given and storage._cdata not in self._seen:
                    self._count(storage)

    def _count(self, storage: torch.UntypedStorage) -> None:
        size, key = storage.nbytes(), storage._cdata

        def gone(_: Any) -> None:
            del self._seen[key]
            self.alive -= size

        self._seen[key] = weakref.ref(storage, gone)
        self.alive += size
        self.peak = max(self.peak, self.alive)


def tensors(tree: Any) -> list[Tensor]:
    """All tensors in tuples, lists and dicts; quicker than torch's own way, which takes longer than small operations."""
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors(part)]
