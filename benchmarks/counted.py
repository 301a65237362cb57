"""What EAP holds of a large model beside its weights, counted without such a model: one of its true shape, without values.

All storages of an accelerator's tensors count from when they are made until they are let go. On an H200 the bare passes took
4,462 MiB, where 4,457 are counted. What kernels use inside is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

import edgewise as ew
from benchmarks.attribution import Row
from benchmarks.counting import peak_elsewhere
from benchmarks.large import FULL, TINY, Shape, Sizes, bare
from benchmarks.other_device import elsewhere, moved
from benchmarks.setting import random_pairs
from edgewise.engine.tiling import tiling_for, using_tiling
from edgewise.models import FAMILIES, Subject

GIB = 1 << 30
# Examples, tokens, whether blocks run again in the backward pass, and what is to be reached.
SETTINGS = (
    (8, 128, False, "≤ 1.15"),
    (1, 2048, False, "≤ 80 GB"),
    (1, 6000, False, "≤ 80 GB"),
    (1, 6000, True, "≤ 80 GB"),
)


@dataclass(frozen=True)
class Held:
    """Bytes at the peak: of the bare passes and of EAP, beside those of the weights."""

    weights: int
    bare: int
    eap: int


def hollow(shape: Shape) -> Subject:
    """A Llama of that shape without values."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape.config, dtype=shape.dtype).eval()
    model = moved(model)
    with elsewhere():
        return Subject(model, None, FAMILIES["llama"], shape.name)


def counted(subject: Subject, pairs: ew.Pairs, *, again: bool) -> Held:
    """What is held; `again`: where blocks run again in the backward pass."""
    tiling = tiling_for(subject.device)
    with elsewhere(), using_tiling(replace(tiling, kept_share=0) if again else tiling):
        with peak_elsewhere() as native:
            bare(subject, subject.ready(pairs))
        with peak_elsewhere() as ours:
            ew.attribute(subject, pairs, method="eap", batch_size=len(pairs))
    return Held(sum(weight.nbytes for weight in subject.model.parameters()), native.peak, ours.peak)


def rows(sizes: Sizes) -> Iterator[Row]:
    """A row for each setting: the ratio, then EAP with weights, and the bare passes with weights."""
    subject = hollow(sizes.llama_8b)
    for examples, tokens, again, target in SETTINGS:
        pairs = random_pairs(
            max(1, examples // sizes.part), max(4, tokens // sizes.part), sizes.llama_8b.config.vocab_size
        )
        held = counted(subject, pairs, again=again)
        label = f"eap{', blocks run again' if again else ''}, memory counted, {sizes.llama_8b.name}, " + (
            f"{len(pairs)} × {pairs.clean.shape[1]:,}"
        )
        shown = (f"{(held.weights + one) / GIB:.2f} GiB" for one in (held.eap, held.bare))
        yield (label, f"{held.eap / held.bare:.2f}", target, *shown)


def counts() -> Iterator[tuple[str, list[Row]]]:
    """The rows at full size, under a title."""
    yield f"Memory of EAP, {FULL.llama_8b.name}", [*rows(FULL)]


def table(rounds: int) -> Iterator[Row]:
    """The rows at full size; nothing is timed."""
    return rows(FULL)


def tiny_table(rounds: int) -> Iterator[Row]:
    """The rows at sizes that take seconds."""
    return rows(TINY)
