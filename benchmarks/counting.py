"""Counts what an accelerator would be asked to do: operations, host waits, uploads and bytes copied, without one.

Everything runs on a device of our own (`other_device`), which knows what lies there and what does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.other_device import ELSEWHERE, Elsewhere, listening
from edgewise.engine.peak import PeakBytes, tensors

# They hand out the memory of another tensor, although their schema does not say so.
VIEWS = {"aten._unsafe_view.default", "aten.detach.default", "aten.lift_fresh.default", "aten._reshape_alias.default"}
# They only take memory.
ALLOCATIONS = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "resize_"}
# The host waits for their result: its size or its value depends on the data.
WAITS = {"_local_scalar_dense", "tolist", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}
COPIES = {"copy_", "_to_copy", "clone", "cat", "stack"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


@dataclass
class Count:
    """What was asked of the device. `operations` start a kernel each; `views` cost the host alone.

    `waits`: how often the host stands still until the device is done. `uploads`: copies from the host. `copied`: bytes of
    copies within the device and to and from it. `names`: operations by name, to see where they come from.
    """

    operations: int = 0
    views: int = 0
    waits: int = 0
    uploads: int = 0
    copied: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def hear(self, name: str, inputs: Any, outputs: Any) -> None:
        """One more operation."""
        short = name.split(".")[1]
        given, made = tensors(inputs), tensors(outputs)
        fetched = bool(made) and not any(isinstance(x, Elsewhere) for x in made)
        here = [x for x in given if not isinstance(x, Elsewhere) and x.dim() > 0]
        if short in WAITS or fetched or (short in INDEXING and _by_mask(given[1:])):
            self.waits += 1
            self.names[f"wait: {short}"] += 1
        elif here and short in COPIES | INDEXING:
            self.uploads += 1
            self.names[f"upload: {short}"] += 1
        if name in VIEWS or _is_view(name):
            self.views += 1
        elif short not in ALLOCATIONS and any(x.numel() for x in made):
            self.operations += 1
            self.names[short] += 1
            self.copied += sum(x.numel() * x.element_size() for x in made) if short in COPIES else 0

    def __add__(self, other: Count) -> Count:
        numbers = (getattr(self, name) + getattr(other, name) for name in NUMBERS)
        return Count(*numbers, self.names + other.names)


NUMBERS = ("operations", "views", "waits", "uploads", "copied")


@contextmanager
def counting() -> Iterator[Count]:
    """Counts what is asked of the device while inside."""
    count = Count()
    with listening(count.hear):
        yield count


def counted(run: Callable[[], object]) -> Count:
    """What `run` asks of the device, once what is made on first use is there."""
    run()
    with counting() as count:
        run()
    return count


def _by_mask(indices: list[Tensor]) -> bool:
    return any(x.dtype in (torch.bool, torch.uint8) for x in indices)


@cache
def _is_view(name: str) -> bool:
    namespace, short, overload = (*name.split("."), "default")[:3]
    packet = getattr(getattr(torch.ops, namespace), short, None)
    schema = getattr(packet, overload)._schema if packet is not None and hasattr(packet, overload) else None
    if schema is None or not schema.returns:
        return False
    alias = schema.returns[0].alias_info
    return alias is not None and not alias.is_write


@contextmanager
def peak_elsewhere() -> Iterator[PeakBytes]:
    """Counts the bytes of what is made on the device of our own while inside."""
    count = PeakBytes(ELSEWHERE)
    with listening(lambda name, inputs, outputs: count.hear(inputs, outputs)):
        yield count
