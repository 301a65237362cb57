"""How much memory a method takes, measured on one pair and on two, and pairs at once that keep to a limit.

    peak(n pairs) = base + MARGIN · (fixed + n · each),      kept besides: what is held of all pairs where there is room

`base` is what is taken already: the model, and on a CPU the whole process. The rest comes from rehearsals: the part of the
work that takes most memory, done on the longest prompt, with the bytes of tensors counted as they come and go. One pair in a
tiling cut into n parts stands for n pairs in the whole one, two in n / 2 parts tell what does not grow with the pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, final

import torch

from edgewise.attribution.fitting import noted_half, unless_too_large
from edgewise.contract import Method
from edgewise.engine.peak import PeakBytes
from edgewise.engine.tiling import FREE_SHARE, Tiling, tiling_for, using_tiling
from edgewise.errors import EdgewiseError, InvalidValue
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import silent
from edgewise.ranks import alone
from edgewise.request import LOCAL, Request

M = TypeVar("M", bound=Method)
# Allocators round up and leave gaps, and kernels take memory that is not counted. An allocator on a CPU leaves more of them.
MARGIN = {"cpu": 1.25}
ELSEWHERE = 1.15
# Pieces are cut into so many at the most before a limit is refused.
FINEST_CUT = 16
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


@final
@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a method takes beyond what is in use: `fixed` in any case, `each` for each of the `pairs` that run at once.

    `answers`: for each of them, of logits at the answer positions of others. `kept`: what it keeps of all pairs besides,
    which is less where there is less room.
    """

    pairs: int
    fixed: int
    each: int
    answers: int = 0
    kept: int = 0

    @property
    def least(self) -> int:
        """With nothing kept that need not be."""
        return self.fixed + self.pairs * (self.each + self.answers)

    @property
    def peak(self) -> int:
        """With all kept that may be."""
        return self.least + self.kept


@final
class Rehearsals:
    """Measures how much memory a method takes on a request; leaves no trace but what a run of it would."""

    def __init__(self, method: Method, request: Request) -> None:
        self.method, self.request = without_files(method), request
        self.margin = self.margin_on(request.subject.device)

    @staticmethod
    def margin_on(device: torch.device) -> float:
        """What is estimated over what is counted."""
        return MARGIN.get(device.type, ELSEWHERE)

    def estimate(self, pairs: int, tiling: Tiling, ample: int = 0) -> MemoryEstimate:
        """What so many pairs at once take, in pieces of these sizes; where that is well below `ample`, at the most."""
        one, fixed, more = self.bytes(1, tiling.part(pairs)), 0, self._answers(pairs)
        if pairs > 1 and self.margin * pairs * (one + more) > ample:
            fixed = min(one, max(0, 2 * one - self.bytes(2, tiling.part(pairs // 2))))
        kept = min(tiling.held_bytes, round(self._kept * (1 - pairs / len(self.request.pairs))))
        return MemoryEstimate(pairs, *(round(self.margin * size) for size in (fixed, one - fixed, more, kept)))

    @cached_property
    def _kept(self) -> int:
        with alone():
            return self.method.kept(self.request)

    def bytes(self, pairs: int, tiling: Tiling) -> int:
        """Bytes counted in a rehearsal. One that is refused has been counted as far as the run would come."""
        counted = PeakBytes(self.request.subject.device)

        def rehearse() -> bool:
            with suppress(EdgewiseError):
                work = self.method.rehearsal(few(self.request, pairs))
                with counted:
                    work()
            return True

        with alone(), using_tiling(tiling):
            if not unless_too_large(rehearse):
                noted_half(self.request, pairs)
                return pairs * counted.peak
        return counted.peak

    def _answers(self, pairs: int) -> int:
        """Bytes for each pair of the logits, and their gradients, that a native run gives at the answers of other pairs."""
        subject, positions = self.request.subject, self.request.pairs.positions
        others = max(len(some.unique()) for some in positions.split(pairs)) - 1
        return 2 * others * subject.vocab_size * subject.dtype.itemsize


@contextmanager
def within_memory(method: Method, request: Request) -> Iterator[Request]:
    """The request with as many pairs at once as its memory limit has room for, said in its notes where that is fewer.

    Inside, work is cut as small as that takes, down to blocks that run again in the backward pass, which the notes say too.
    InvalidValue for a limit too small for one pair even so.
    """
    if request.wanted.memory_limit is None:
        yield request
        return
    limit = memory_size(request.wanted.memory_limit)
    with alone() if method.divides(request.wanted) else nullcontext():
        estimate, tiling, asked = _fitting(method, request, limit)
    if estimate.pairs < asked:
        request.notes["fitting_batch_size"] = estimate.pairs
    if tiling.kept_share < tiling_for(request.subject.device).kept_share:
        request.notes["blocks_run_again"] = True
    with using_tiling(tiling):
        yield replace(request, at_once=estimate.pairs)


def _fitting(method: Method, request: Request, limit: int) -> tuple[MemoryEstimate, Tiling, int]:
    """What fits, in which pieces, and how many pairs would run at once without a limit."""
    rehearsals, subject = Rehearsals(method, request), request.subject
    whole = tiling_for(subject.device)
    rehearsals.bytes(1, whole.part(FINEST_CUT))  # what is loaded at the first call is in use from then on
    base = taken(subject)
    free = limit - base
    tilings = [whole.part(count) for count in (1, 4, FINEST_CUT)]
    tiling = next((pieces for pieces in tilings if pieces.chunk_bytes * FREE_SHARE <= free), tilings[-1])
    # Blocks that run again in the backward pass take a forward more: only where nothing else will do.
    finest = [tilings[-1], replace(tilings[-1], kept_share=0)]
    asked, found, last, least = 0, None, tiling, list[int]()
    for pairs, pieces in chain(method.sizes(request, tiling), ((1, pieces) for pieces in finest)):
        asked = asked or pairs
        if found is not None and pieces == last and found.fixed + pairs * found.each > free:
            continue  # in smaller batches a pair takes no less
        found, last = rehearsals.estimate(pairs, pieces, free), pieces
        if found.least <= free:
            room = free - found.least
            return found, replace(pieces, held_bytes=min(pieces.held_bytes, room)), asked
        least.append(found.least)
    raise InvalidValue(
        f"a memory limit of {_shown(limit)} is too small: {_shown(base)} are in use before {method.name} begins, and "
        f"one pair at a time needs about {_shown(min(least))} more; give at least {_shown(base + min(least))}"
    )


def few(request: Request, pairs: int) -> Request:
    """The request on its longest prompt alone, so many times over, without a limit and without a word."""
    over = getattr(request.ablation, "over", None)
    ablation: Any = request.ablation if over is None else replace(request.ablation, over=_longest(over, pairs))  # type: ignore[type-var]
    return replace(
        request,
        pairs=_longest(request.pairs, pairs),
        ablation=ablation,
        batch_size=pairs,
        track=silent,
        wanted=replace(request.wanted, memory_limit=None),
        notes={},
        at_once=None,
    )


def _longest(pairs: Pairs, count: int) -> Pairs:
    return pairs[torch.full((count,), int(pairs.positions.argmax()))]


def without_files(method: M) -> M:
    """The method with none of the files that it keeps."""
    names = {option.name: None for option in fields(method) if option.name in LOCAL}  # type: ignore[arg-type]
    return replace(method, **names)  # type: ignore[type-var]


def memory_size(size: str | int) -> int:
    """A size in bytes; InvalidValue if it is none.

    >>> memory_size("2GB"), memory_size("1.5 GiB"), memory_size(4096)
    (2000000000, 1610612736, 4096)
    """
    match = _SIZE.fullmatch(str(size))
    bytes_ = float(match[1]) * UNITS.get(match[2].upper(), 0) if match else 0
    if bytes_ < 1:
        raise InvalidValue(f"{size!r} is not a memory limit; write a number and a unit, as in 2GB or 512MiB")
    return int(bytes_)


def _shown(size: int) -> str:
    """Rounded up, so that what is said to do does.

    >>> _shown(1_499_000_001)
    '1500MB'
    """
    return f"{-(-size // 10**6)}MB"


def taken(subject: Subject) -> int:
    """Bytes taken now: on an accelerator what is allocated there, on a CPU the process's, the model at the least."""
    model = sum(parameter.nbytes for parameter in subject.model.parameters())
    if subject.device.type == "cuda":
        return max(model, torch.cuda.memory_allocated(subject.device))
    status = Path("/proc/self/status")
    resident = int(status.read_text().partition("VmRSS:")[2].split()[0]) * 1024 if status.exists() else 0
    return max(model, resident) if subject.device.type == "cpu" else model
