"""Tiling: in which pieces work is done, and how exactly it is summed up. One value, chosen by device and free memory.

A processor is fast on pieces that stay in its cache and slow on large ones; an accelerator needs large pieces, since starting
a kernel costs as much as a million sums. So every size of this kind stands here, and nowhere else. Results do not depend on
it but for the last bits of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal, final, get_args

import torch

from edgewise.errors import InvalidValue

# How the factors of a product of writers and gradients are rounded before they are multiplied; sums are float32 or better.
Products = Literal["float32", "tf32"]
# Whether what the q, k and v projections of a run give is kept until the gradients there come in, or made again then.
KeptOrAgain = Literal["kept", "again"]


@final
@dataclass(frozen=True)
class Tiling:
    """Sizes of the pieces in which work is done.

    `chunk_bytes`: of what is made and used up at once, in the contraction and in a masked run. `layers`: whose readers share
    one product with the writers: a wider product is faster, at the price of some writers the earlier layers do not read.
    `runs`: whose gradients wait for one contraction.
    `patched_tokens`: (edges × examples × positions) replaced one by one in one run. `masks`: of one edge at several degrees.
    `removals`, `removal_tokens`: of a batch in a search, at the most. `logits`: whose metric is made at once.
    `held_bytes`: of runs on clean and corrupted prompts that are kept.
    `sparse`: below this share of kept edges a reader's input is added up writer by writer, above it by one product.
    `whole`: above this share of running heads a layer runs whole, all its readers at all tokens; below it nothing is
    computed that nobody needs.
    `kept_share`: of the free memory, which autograd may fill with what it keeps of one run; where that would be more, blocks
    are run again in the backward pass.
    `projected`: whether outputs of q, k and v projections are kept until the gradients there are known, or made again then:
    counted on an 8B shape, a run holds 6 % less; what it costs has not been timed.
    `products`: how the products that make scores of edges round their factors. Rounding to ten bits moves the ranks of a
    real model's edges no more than the fifth digit of their correlation (docs/how-it-works.md).
    """

    chunk_bytes: int
    layers: int
    runs: int
    patched_tokens: int
    masks: int
    removals: int
    removal_tokens: int
    logits: int
    held_bytes: int
    sparse: float
    whole: float
    kept_share: float
    projected: KeptOrAgain = "kept"
    products: Products = "float32"

    def chunks(self, tokens: int, bytes_per_token: int) -> Iterator[slice]:
        """Consecutive slices of a token axis whose pieces stay within `chunk_bytes`."""
        size = max(1, self.chunk_bytes // max(1, bytes_per_token))
        size = -(-tokens // -(-tokens // size))  # even pieces: a last sliver would run at a fraction of the speed
        for start in range(0, tokens, size):
            yield slice(start, min(tokens, start + size))

    def part(self, count: int) -> Tiling:
        """The tiling for one of so many equal parts of the work: what it cuts by size, it cuts into as many pieces."""
        sizes = ("chunk_bytes", "patched_tokens", "removal_tokens", "logits")
        return replace(self, **{name: max(1, getattr(self, name) // count) for name in sizes})

    def rounding(self, device: torch.device) -> AbstractContextManager[None]:
        """While inside, products on the device round their factors as `products` says."""
        return _ten_bits() if self.products == "tf32" and device.type == "cuda" else nullcontext()


# Measured on two cores: chunks of 12 MiB are a fifth slower; more patched tokens, removals or logits leave the cache.
PROCESSOR = Tiling(
    chunk_bytes=48 << 20,
    layers=2,
    runs=6,
    patched_tokens=4096,
    masks=4,
    removals=32,
    removal_tokens=8192,
    logits=1 << 20,
    held_bytes=2 << 30,
    sparse=0.12,
    whole=1.0,
    kept_share=0.5,
)
# As large as memory lets them be: nothing is cut that fits, and nothing waits for the host.
ACCELERATOR = replace(
    PROCESSOR,
    chunk_bytes=2 << 30,
    patched_tokens=32_768,
    masks=16,
    removals=64,
    removal_tokens=32_768,
    logits=1 << 26,
    sparse=0.0,
    whole=0.0,
    projected="again",
    products="tf32",
)
# A chunk is at most such a part of the memory that is free, and never smaller than a processor's.
FREE_SHARE = 8

_chosen: ContextVar[Tiling | None] = ContextVar("tiling", default=None)
_products: ContextVar[Products | None] = ContextVar("products", default=None)


def tiling_for(device: torch.device) -> Tiling:
    """The tiling for work on a device, by the memory that is free there now; inside `using_tiling` the one given there."""
    tiling, products = _chosen.get() or _by_device(device), _products.get()
    return tiling if products is None else replace(tiling, products=products)


def _by_device(device: torch.device) -> Tiling:
    if device.type == "cpu":
        return PROCESSOR
    free = free_memory(device)
    size = ACCELERATOR.chunk_bytes if free is None else min(ACCELERATOR.chunk_bytes, free // FREE_SHARE)
    return replace(ACCELERATOR, chunk_bytes=max(PROCESSOR.chunk_bytes, size))


@contextmanager
def using_tiling(tiling: Tiling) -> Iterator[None]:
    """While inside, work of this thread is cut as `tiling` says, on every device."""
    token = _chosen.set(tiling)
    try:
        yield
    finally:
        _chosen.reset(token)


@contextmanager
def using_products(products: Products | None) -> Iterator[None]:
    """While inside, products that make scores round their factors so; None: as they would anyway. Raises InvalidValue."""
    if products is not None and products not in get_args(Products):
        raise InvalidValue(f"products={products!r} must be one of {', '.join(get_args(Products))}, or left out")
    token = _products.set(products or _products.get())
    try:
        yield
    finally:
        _products.reset(token)


def rounded_products(device: torch.device) -> Products:
    """How the factors of products are rounded there: exact where a device does not round them."""
    return tiling_for(device).products if device.type == "cuda" else "float32"


def free_memory(device: torch.device) -> int | None:
    """Bytes free on a device, those included that the allocator keeps for later; None where nobody can say."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    status = Path("/proc/meminfo")
    if device.type != "cpu" or not status.exists():
        return None
    return int(status.read_text().partition("MemAvailable:")[2].split()[0]) * 1024


@final
class _Rounding:
    """How many threads want products rounded, and what torch's own setting was before the first of them came."""

    lock = Lock()
    inside = 0
    before: Any = None


@contextmanager
def _ten_bits() -> Iterator[None]:
    """While inside, float32 products on CUDA devices round their factors to ten bits. The setting is one for all threads."""
    matmul = torch.backends.cuda.matmul
    with _Rounding.lock:
        if not _Rounding.inside:
            _Rounding.before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
        _Rounding.inside += 1
    try:
        yield
    finally:
        with _Rounding.lock:
            _Rounding.inside -= 1
            if not _Rounding.inside:
                matmul.fp32_precision = _Rounding.before
