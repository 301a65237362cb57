"""Ablations: what replaces a writer's output along the edges that are not kept.

`corrupted` puts in the corrupted prompt's own value (resample ablation), `zero` nothing at all, `mean` the writer's average
over the corrupted prompts of a dataset, `position-mean` that average position by position. Averages take the tokens up to
the answer position, or all if the model reads in both directions; the dataset is the pairs at hand unless another is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from edgewise.engine.record import record, record_writes
from edgewise.engine.replacement import Replacement
from edgewise.engine.writes import Writes
from edgewise.errors import InvalidValue, PairsError
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.plugins import Members


@final
@dataclass(frozen=True)
class Replacer:
    """Gives, for a batch of the pairs it was prepared for, the whole replacement or what it writes alone."""

    whole: Callable[[Pairs], Replacement]
    writes: Callable[[Pairs], Writes]

    @classmethod
    def of(cls, whole: Callable[[Pairs], Replacement]) -> Replacer:
        """For a replacement that is there in any case."""
        return cls(whole, lambda batch: whole(batch).writes)

    def __call__(self, batch: Pairs) -> Replacement:
        return self.whole(batch)


class Ablation(ABC):
    """What replaces a writer's output along the edges that are not kept."""

    name: ClassVar[str]
    summary: ClassVar[str]

    @property
    def key(self) -> dict[str, str]:
        """What distinguishes this ablation from others, as plain values."""
        over = getattr(self, "over", None)
        return {"ablation": self.name, **({} if over is None else {"ablation_data": over.fingerprint})}

    def over_all(self, pairs: Pairs) -> Self:
        """The ablation with its averages taken over these pairs, also where only some of them are at hand."""
        return replace(self, over=pairs) if getattr(self, "over", pairs) is None else self  # type: ignore[type-var]

    def changes_nothing(self, pairs: Pairs) -> bool:
        """Whether, in each of the pairs, what it puts in the place of a write is what was there."""
        return False

    def require(self, pairs: Pairs) -> None:
        """PairsError if it needs something of the pairs that they do not have."""
        return

    @abstractmethod
    def prepare(self, subject: Subject, pairs: Pairs, batch_size: int) -> Replacer:
        """Look at the data once, and return what makes the replacement for a batch.

        `subject`: the model.
        `pairs`: all pairs of the run.
        `batch_size`: how many of them run at once.
        """


@final
@dataclass(frozen=True)
class Corrupted(Ablation):
    """The writer's value on the corrupted prompt of the same pair."""

    name: ClassVar[str] = "corrupted"
    summary: ClassVar[str] = "the value on the corrupted prompt of the pair (resample ablation)"

    def changes_nothing(self, pairs: Pairs) -> bool:
        differ = pairs.clean != pairs.corrupted
        if pairs.after == "padding":
            differ &= torch.arange(differ.shape[1]) <= pairs.positions[:, None]
        return len(pairs) > 0 and not bool(differ.any())

    def require(self, pairs: Pairs) -> None:
        if not pairs.has_corrupted:
            others = ", ".join(name for name in ABLATIONS if name != self.name)
            raise PairsError(
                f"the ablation {self.name!r} needs corrupted prompts and these pairs have none; give some, or an ablation "
                f"that needs none ({others})"
            )

    def prepare(self, subject: Subject, pairs: Pairs, batch_size: int) -> Replacer:
        self.require(pairs)
        return Replacer(
            lambda batch: Replacement.of_run(record(subject, batch.corrupted, batch.positions)),
            lambda batch: record_writes(subject, batch.corrupted, batch.positions)[0],
        )


@final
@dataclass(frozen=True)
class Zero(Ablation):
    """Nothing: zero vectors. Output biases, which belong to no writer, stay."""

    name: ClassVar[str] = "zero"
    summary: ClassVar[str] = "zero vectors"

    def prepare(self, subject: Subject, pairs: Pairs, batch_size: int) -> Replacer:
        like = torch.zeros((), dtype=subject.dtype, device=subject.device)
        replacement = Replacement.of_values(subject, _map(_shapes(subject), lambda shape: like.new_zeros(1, 1, *shape)))
        return Replacer.of(lambda batch: replacement)


@final
@dataclass(frozen=True)
class Mean(Ablation):
    """The writer's average over all tokens of the corrupted prompts of `over` (default: the pairs at hand)."""

    over: Pairs | None = None
    name: ClassVar[str] = "mean"
    summary: ClassVar[str] = "average over the corrupted prompts and all their positions"

    def prepare(self, subject: Subject, pairs: Pairs, batch_size: int) -> Replacer:
        sums, counts = _sums(subject, self.over or pairs, batch_size)
        total = counts.sum()
        means = _map(sums, lambda s: (s.sum(dim=0, keepdim=True) / total)[None].to(subject.dtype))
        replacement = Replacement.of_values(subject, means)
        return Replacer.of(lambda batch: replacement)


@final
@dataclass(frozen=True)
class PositionMean(Ablation):
    """The writer's average at each position over the corrupted prompts of `over` (default: the pairs at hand)."""

    over: Pairs | None = None
    name: ClassVar[str] = "position-mean"
    summary: ClassVar[str] = "average over the corrupted prompts, position by position"

    def prepare(self, subject: Subject, pairs: Pairs, batch_size: int) -> Replacer:
        sums, counts = _sums(subject, self.over or pairs, batch_size)
        longest = int((counts > 0).sum())

        def replacement(batch: Pairs) -> Replacement:
            width = batch.clean.shape[1]
            if width > longest:
                raise InvalidValue(
                    f"these prompts have {width} tokens, but the mean was taken over prompts of at most {longest}"
                )
            means = _map(
                sums, lambda s: (s[:width] / counts[:width].view(-1, *[1] * (s.ndim - 1)))[None].to(subject.dtype)
            )
            return Replacement.of_values(subject, means)

        return Replacer.of(replacement)


def _checked(member: Any) -> type[Ablation]:
    if not (isinstance(member, type) and issubclass(member, Ablation)):
        raise InvalidValue(f"{member!r} is not a subclass of edgewise.ablations.Ablation")
    if missing := sorted(getattr(member, "__abstractmethods__", ())):
        raise InvalidValue(f"{member.__name__} does not implement {', '.join(missing)}")
    return member


ABLATIONS: Members[type[Ablation]] = Members(
    "ablation",
    "ablations",
    {kind.name: kind for kind in (Corrupted, Zero, Mean, PositionMean)},
    _checked,
    spelled=lambda name: name.replace("_", "-"),
)


def ablation(name: str | Ablation) -> Ablation:
    """The ablation of that name, or the Ablation itself."""
    if isinstance(name, Ablation):
        return name
    return ABLATIONS.named(name)()


def _shapes(subject: Subject) -> Writes:
    """Shapes of one token's writes, in the place of the tensors."""
    heads = [(subject.graph.heads, block.projections.d_head) for block in subject.blocks]
    stream, inputs = (subject.d_model,), (len(subject.graph.inputs), subject.d_model)
    return Writes(inputs, heads, [stream for _ in subject.blocks if subject.graph.mlps], heads)  # type: ignore[arg-type]


def _map(writes: Writes, f: Callable[..., Tensor]) -> Writes:
    return Writes(f(writes.inputs), [f(z) for z in writes.z], [f(m) for m in writes.mlp], [f(z) for z in writes.raw])


def _sums(subject: Subject, pairs: Pairs, batch_size: int) -> tuple[Writes, Tensor]:
    """Sums of all writes at each position over the corrupted prompts, and how many prompts reach that position."""
    width = (pairs.trimmed() if subject.causal else pairs).clean.shape[1]
    dtype, device = subject.work_dtype, subject.device
    sums = _map(_shapes(subject), lambda shape: torch.zeros(width, *shape, dtype=dtype, device=device))
    counts = torch.zeros(width, dtype=dtype, device=device)
    for batch in pairs.batches(batch_size):
        batch = subject.ready(batch)
        writes, _ = record_writes(subject, batch.corrupted, batch.positions)
        places = torch.arange(batch.corrupted.shape[1], device=device).expand(len(batch), -1)
        inside = ((places <= batch.positions[:, None]) | (not subject.causal)).to(dtype)
        counts[: inside.shape[1]] += inside.sum(dim=0)
        _add(sums, writes, inside)
    return sums, counts


def _add(sums: Writes, writes: Writes, inside: Tensor) -> None:
    pairs = [(sums.inputs, writes.inputs), *zip(sums.z, writes.z, strict=True), *zip(sums.mlp, writes.mlp, strict=True)]
    if sums.raw[0] is not sums.z[0]:
        pairs += list(zip(sums.raw, writes.raw, strict=True))
    for total, new in pairs:
        total[: inside.shape[1]] += torch.einsum("bt...,bt->t...", new.to(total), inside)
