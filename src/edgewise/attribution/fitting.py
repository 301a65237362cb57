"""Batches that fit into memory: halved when they do not, and said so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch

from edgewise.ablations import Replacer
from edgewise.errors import NumericalError
from edgewise.pairs import Pairs
from edgewise.request import Batch, Request

T = TypeVar("T")
# What the CPU's allocator says; it has no error class of its own.
NO_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory")


def fitting_parts(request: Request, score: Callable[[Batch], T]) -> Iterator[T]:
    """`score` of every batch of a request, one after the other; smaller ones where memory does not suffice, as `in_parts`."""
    replacer = fitting_replacer(request)
    yield from in_parts(request, lambda pairs: score(request.batch(pairs, replacer)))


def in_parts(request: Request, work: Callable[[Pairs], T]) -> Iterator[T]:
    """`work` on the pairs of a request, as many at once as it says.

    Where memory does not suffice for so many, the batch size is halved from there on, with a warning that names it and as
    `fitting_batch_size` in the request's notes; what adds up is the same. NumericalError if a single example does not fit.
    """
    size, done = request.pairs_at_once, 0
    while done < len(request.pairs):
        batch = request.pairs[done : done + size]
        part = unless_too_large(lambda batch=batch: work(batch))
        if part is None:
            size = noted_half(request, min(size, len(batch)))
            continue
        done += len(batch)
        yield part


def fitting_replacer(request: Request) -> Replacer:
    """What makes the replacement for batches of a request; the data are looked at in as large batches as memory holds."""
    size = request.pairs_at_once
    prepare = partial(request.ablation.prepared, request.subject, request.pairs)
    while (found := unless_too_large(partial(prepare, size))) is None:
        size = noted_half(request, size)
    return found


def unless_too_large(compute: Callable[[], T]) -> T | None:
    """The result, or None where memory did not suffice for it."""
    try:
        return compute()
    except (torch.OutOfMemoryError, MemoryError):
        return None
    except RuntimeError as error:
        if not any(words in str(error) for words in NO_MEMORY):
            raise
        return None


def noted_half(request: Request, size: int) -> int:
    """Half as many at once, with a warning and in the request's notes; NumericalError where one is too many."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if size == 1:
        raise NumericalError(
            "there is not enough memory for a single example: shorten the prompts, load the model in bfloat16, or spread it "
            "over several devices by a device map"
        )
    request.notes["fitting_batch_size"] = size // 2
    warnings.warn(f"not enough memory for a batch of {size}: going on with {size // 2}", RuntimeWarning, stacklevel=2)
    return size // 2
