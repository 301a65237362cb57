"""MemoryEstimate: how much memory a batch takes to score, estimated before anything is scored; batches that keep to a limit.

    peak(examples) ≈ base + fixed + examples · each

`base` is what is taken already: the model, and on a CPU the whole process. `each` is for an example of the longest prompt:

    what autograd keeps of one forward run of it, counted in a run of one example whose tensors are let go at once
    + the writes that are held, (heads · d_head + d_model) a layer and token, of the clean run, the replaced one, and so on
    + the gradients of runs that lie beside a whole run: (readers · d_head + d_model) a layer and token, and d_model a run
    + the outputs of the projections, the temporaries of two layers and of the logits;        all times MARGIN

and `fixed` the scores; to both the pieces in which writers meet readers, a chunk of the tiling at the most. Tests hold the
estimate between the measured peak and twice that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from edgewise.engine.tiling import tiling_for
from edgewise.errors import InvalidValue
from edgewise.models.hooks import OnInput, hooked, steady
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs

# Allocators round up and leave gaps.
MARGIN = 1.25
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


@final
@dataclass(frozen=True)
class MemoryNeed:
    """What a method holds of a batch at its peak, beside one run with its graph.

    `writes`: sets of writes. `slopes`: runs whose gradients lie there, summed but for their part along the stream.
    """

    writes: int = 1
    slopes: int = 0


@final
@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that scoring takes: `base` before it begins, `fixed` in any case, `each` for each example of a batch.

    Beside these `piece` for each example, `chunk` at the most.
    """

    base: int
    fixed: int
    each: int
    chunk: int = 0
    piece: int = 0

    @classmethod
    def of(cls, subject: Subject, pairs: Pairs, held: MemoryNeed) -> MemoryEstimate:
        """The estimate for these pairs."""
        tokens, graph, d = subject.ready(pairs).clean.shape[1], subject.graph, subject.d_model
        projections, d_head = subject.blocks[0].projections, subject.blocks[0].projections.d_head
        size, work = subject.dtype.itemsize, subject.work_dtype.itemsize
        saved = _saved(subject, tokens)
        writes = (graph.heads * d_head + d * graph.mlps) * max(size, work)
        slopes = (projections.readers * d_head + d * graph.mlps + held.slopes * d) * work if held.slopes else 0
        per_layer = tokens * (projections.readers * d_head * size + held.writes * writes + slopes)
        answers = len(pairs.positions.unique()) * subject.vocab_size
        each = saved * (1 + 2 / graph.layers) + graph.layers * per_layer + 4 * answers * work
        # A chunk holds the writers and the readers of some layers at some tokens, at the most at all of them.
        piece = 2 * tokens * (len(graph.writers) + 2 * graph.readers_per_layer) * d * work
        scores = 4 * len(graph.writers) * len(graph.readers) * 8
        return cls(_taken(subject), scores, round(MARGIN * each), 2 * tiling_for(subject.device).chunk_bytes, piece)

    def peak(self, examples: int) -> int:
        """The estimate for a batch of so many examples."""
        return self.base + self.fixed + examples * self.each + min(self.chunk, examples * self.piece)


def fitting_size(subject: Subject, pairs: Pairs, held: MemoryNeed, batch_size: int, limit: int) -> int:
    """`batch_size`, halved until the estimated peak is within `limit` bytes; InvalidValue if that of one example is not."""
    footprint, size = MemoryEstimate.of(subject, pairs, held), min(batch_size, len(pairs))
    while size > 1 and footprint.peak(size) > limit:
        size //= 2
    if footprint.peak(size) > limit:
        raise InvalidValue(
            f"a memory limit of {_shown(limit)} is too small: {_shown(footprint.base)} are in use before scoring begins, and "
            f"scoring one pair at a time needs about {_shown(footprint.peak(1) - footprint.base)} more; give at least "
            f"{_shown(footprint.peak(1))}"
        )
    return size if size < min(batch_size, len(pairs)) else batch_size


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


def _saved(subject: Subject, tokens: int) -> int:
    """Bytes autograd keeps of a forward run of one example: every storage it asks to save, counted and let go."""
    from torch.multiprocessing.reductions import StorageWeakRef

    weights = {parameter.untyped_storage().data_ptr() for parameter in subject.model.parameters()}
    seen: dict[int, StorageWeakRef] = {}
    total = 0

    def count(x: Tensor) -> None:
        nonlocal total
        storage, place = x.untyped_storage(), x.untyped_storage().data_ptr()
        if place not in weights and (place not in seen or seen[place].expired()):
            seen[place], total = StorageWeakRef(storage), total + storage.nbytes()

    prompt = torch.full((1, tokens), subject.ordinary_token, device=subject.device)
    leaf = OnInput(subject.blocks[0].module, lambda x: x.detach().requires_grad_())
    letting_go = torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing)
    with steady(subject.model), torch.enable_grad(), hooked([leaf]), letting_go:
        subject.logits(prompt, torch.tensor([tokens - 1], device=subject.device))
    return total


def _taken(subject: Subject) -> int:
    """Bytes taken now: on an accelerator what is allocated there, on a CPU the process's, the model at the least."""
    model = sum(parameter.nbytes for parameter in subject.model.parameters())
    if subject.device.type == "cuda":
        return max(model, torch.cuda.memory_allocated(subject.device))
    status = Path("/proc/self/status")
    resident = int(status.read_text().partition("VmRSS:")[2].split()[0]) * 1024 if status.exists() else 0
    return max(model, resident) if subject.device.type == "cpu" else model


def unlimited(name: str) -> InvalidValue:
    """The refusal of a memory limit by a method that gives no estimate."""
    return InvalidValue(
        f"the memory that {name} needs cannot be estimated, so it cannot keep to a limit; give a smaller batch size, or "
        "use a method made of gradients, such as eap-ig"
    )
