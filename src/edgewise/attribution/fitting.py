"""Batches that fit into memory: halved when they do not, and said so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from edgewise.errors import NumericalError
from edgewise.request import Batch, Request

T = TypeVar("T")
# What the CPU's allocator says; it has no error class of its own.
NO_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory")


def fitting_parts(request: Request, score: Callable[[Batch], Tensor]) -> Iterator[Tensor]:
    """`score` of every batch of a request, one after the other.

    Where memory does not suffice for a batch, the batch size is halved from there on, with a warning that names it and as
    `fitting_batch_size` in the request's notes; the scores are the same. NumericalError if a single example does not fit.
    """
    size, done = request.batch_size, 0
    replacer = request.ablation.prepare(request.subject, request.pairs, request.batch_size)
    while done < len(request.pairs):
        batch = request.pairs[done : done + size]
        part = unless_too_large(lambda batch=batch: score(request.batch(batch, replacer)))
        if part is None:
            size = request.notes["fitting_batch_size"] = halved(min(size, len(batch)))
            continue
        done += len(batch)
        yield part


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


def halved(size: int) -> int:
    """Half as many, with a warning; NumericalError where one is too many."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if size == 1:
        raise NumericalError(
            "there is not enough memory for a single example: load the model in bfloat16, or shorten prompts"
        )
    warnings.warn(f"not enough memory for a batch of {size}: going on with {size // 2}", RuntimeWarning, stacklevel=2)
    return size // 2
