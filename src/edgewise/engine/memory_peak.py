"""How much memory a piece of work takes at its peak, measured while it is done: the tensors that live at once, in bytes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@final
class _Counter(TorchDispatchMode):
    """Counts the storages that operations make while it is on, and those of them that are gone again."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in inputs:
                self._made(tensor)
        return result

    def _made(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if self._known.get(id(storage)) is storage:
            return
        size = storage.nbytes()
        self._known[id(storage)] = storage
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.live -= size


def memory_peak(work: Callable[[], Any]) -> int:
    """Bytes of the tensors that `work` makes and that live at the same time, at the most, what it returns included.

    On every device; without what an allocator rounds up, and without what kernels take for a moment.
    """
    counter = _Counter()
    with counter:
        kept = work()
    del kept
    return counter.peak
