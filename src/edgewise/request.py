"""What a method is asked to do, and the batches it does it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, final

from torch import Tensor

from edgewise.ablations import Ablation, Replacer
from edgewise.engine.replacement import Replacement
from edgewise.engine.writes import Writes
from edgewise.metrics import Answers, Metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track
from edgewise.ranks import current, split_or_refuse
from edgewise.score_levels import LevelName

# Options that name files of the machine at hand and change nothing about the result.
LOCAL = ("checkpoint", "trace", "history", "curves")


@final
@dataclass(frozen=True)
class Batch:
    """One batch, ready to be scored: everything on the model's device, columns nobody reads cut off."""

    subject: Subject
    pairs: Pairs
    replacer: Replacer
    metric: Metric

    @cached_property
    def replacement(self) -> Replacement:
        """What the edges that are not kept carry."""
        return self.replacer(self.pairs)

    def replaced_writes(self) -> Writes:
        """The part of it that writers write, which is half as much to hold; it is not kept here."""
        return self.replacer.writes(self.pairs)

    def objective(self, logits: Tensor, clean_logits: Tensor) -> Tensor:
        """The metric with higher = better: float [example] for logits [example, vocab]."""
        return self.metric.objective(logits, Answers(self.pairs.correct, self.pairs.wrong), clean_logits)

    def objectives(self, logits: Tensor, clean_logits: Tensor) -> Tensor:
        """The same of several runs on the batch: float [run, example] for logits [run, example, vocab]."""
        runs = len(logits)
        answers = Answers(self.pairs.correct.repeat(runs, 1), self.pairs.wrong.repeat(runs, 1))
        values = self.metric.objective(logits.flatten(0, 1), answers, clean_logits.repeat(runs, 1))
        return values.unflatten(0, (runs, -1))


@final
@dataclass(frozen=True)
class Wanted:
    """What a method is asked for.

    `goal`: "scores" of every edge, node or neuron; a "circuit", of `edges` edges where a number is given; a "sweep", circuits
    at `values` of the method's size option (None: its own); "sizes", circuits of about each of `sizes` edges, in whatever
    way the method comes to them: by `values` if these are given. `memory_limit`: "2GB", or bytes.
    """

    goal: Literal["scores", "circuit", "sweep", "sizes"] = "circuit"
    level: LevelName = "edges"
    edges: int | None = None
    values: tuple[float, ...] | None = None
    sizes: tuple[int, ...] = ()
    memory_limit: str | int | None = None


@final
@dataclass(frozen=True)
class Request:
    """What a method works on, and what for.

    `subject`: the model.
    `pairs`: the prompts.
    `metric`: the metric.
    `ablation`: what replaced edges carry.
    `batch_size`: how many pairs run at once.
    `track`: shows progress.
    `wanted`: what is asked for: scores, a circuit, a sweep, or circuits of several sizes.
    `notes`: where a method writes what it did differently than asked; it goes into the provenance of the result.
    `at_once`: how many pairs memory has room for together, where that is known; batches mean what they mean without it.
    """

    subject: Subject
    pairs: Pairs
    metric: Metric
    ablation: Ablation
    batch_size: int
    track: Track
    wanted: Wanted = field(default_factory=Wanted)
    notes: dict[str, Any] = field(default_factory=dict, compare=False)
    at_once: int | None = None

    @property
    def key(self) -> dict[str, Any]:
        """What distinguishes this request from others, as plain values; an interrupted run must go on with the same."""
        return {
            "model": self.subject.identity,
            "pairs": self.pairs.fingerprint,
            "metric": self.metric.name,
            **self.ablation.key,
        }

    @property
    def seconds_before(self) -> float:
        """How long interrupted runs took that this one goes on from."""
        return self.notes.get("seconds_before", 0.0)

    def note_seconds_before(self, seconds: float) -> None:
        """Count the time of an interrupted run that this one goes on from."""
        if seconds:
            self.notes["seconds_before"] = round(self.seconds_before + seconds, 3)

    def share(self) -> Request:
        """The part of it that is this rank's: some of the pairs, with the averages of an ablation those over all of them."""
        if current().count == 1:
            return self
        part = split_or_refuse(len(self.pairs), "pairs")
        return replace(self, pairs=self.pairs[part], ablation=self.ablation.over_all(self.pairs))

    @property
    def pairs_at_once(self) -> int:
        """How many pairs run at once: a batch, or the part of it that there is room for."""
        return min(self.batch_size, self.at_once or self.batch_size)

    def together(self) -> Request:
        """The same request with all pairs in one batch."""
        return replace(self, batch_size=len(self.pairs))

    @property
    def batches(self) -> int:
        """How many parts the pairs are taken in."""
        return -(-len(self.pairs) // self.pairs_at_once)

    def each_batch(self) -> Iterator[Batch]:
        """The parts, one after the other, each with its replacement."""
        yield from map(self.maker(), self.pairs.batches(self.pairs_at_once))

    def maker(self) -> Callable[[Pairs], Batch]:
        """A function that makes a batch of some pairs; the data are looked at once, before."""
        replacer = self.ablation.prepared(self.subject, self.pairs, self.pairs_at_once)
        return lambda pairs: self.batch(pairs, replacer)

    def batch(self, pairs: Pairs, replacer: Replacer) -> Batch:
        """The batch of `pairs`, with the replacement that `replacer` makes."""
        return Batch(self.subject, self.subject.ready(pairs), replacer, self.metric)
