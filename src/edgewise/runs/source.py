"""Where the prompts of a run come from: a task, or the rows of a file; and the metric that goes with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, final

from edgewise.data.bad_rows import BadRows, sorted_out
from edgewise.data.pair_files import rows_and_faults, to_pairs
from edgewise.data.rows import Row
from edgewise.data.splits import ENOUGH_GROUPS, Share, Split, split_rows
from edgewise.errors import FileError, InvalidValue, TooFewHeldOut, UnknownName
from edgewise.pairs import NO_ANSWER, Pairs
from edgewise.prompts.habits import with_warnings
from edgewise.runs.recipe import EXAMPLES_OF_A_TASK, Setting
from edgewise.tasks import Task, task

HELD_OUT_OF_A_TASK = 128
# What is said of a file with enough rows, of which too many share prompts.
NOTHING_APART = (
    "no rows are held out, since they share prompts with one another: the circuit is judged on the pairs it was found on; "
    "--split 0.2 holds out what can be, --split 0 does without"
)

# How many pairs to hold out: so many, as many as are usual, or none (0, None).
Count = int | Literal["auto"] | None


class Source(ABC):
    """Where prompts come from, and the metric that goes with them."""

    @abstractmethod
    def pairs(self, tokenizer: Any) -> Pairs:
        """The pairs that circuits are found on, for this tokenizer."""

    @abstractmethod
    def held_out(self, tokenizer: Any, apart_from: Pairs) -> Pairs | None:
        """Further pairs to judge circuits on, whose prompts are none of those of `apart_from`; None if none are wanted."""

    @abstractmethod
    def usual_metric(self, pairs: Pairs) -> str:
        """The name of the metric they are measured by where none is named."""


@final
@dataclass(frozen=True)
class TaskSource(Source):
    """`examples` prompts that a task draws; `manner` is what else `Task.pairs` takes."""

    task: Task
    examples: int
    seed: int
    manner: Mapping[str, Any]
    count: Count = None

    def pairs(self, tokenizer: Any) -> Pairs:
        return self.task.pairs(tokenizer, n=self.examples, seed=self.seed, **self.manner)

    def held_out(self, tokenizer: Any, apart_from: Pairs) -> Pairs | None:
        """As many as asked for: the task draws them. Where no number was named, as many as it can."""
        if not self.count:
            return None
        if self.count != "auto":
            return self._drawn(tokenizer, self.count, apart_from)
        try:
            return self._drawn(tokenizer, HELD_OUT_OF_A_TASK, apart_from)
        except TooFewHeldOut as few:
            return self._drawn(tokenizer, few.found, apart_from) if few.found else None

    def _drawn(self, tokenizer: Any, n: int, apart_from: Pairs) -> Pairs:
        return self.task.pairs(tokenizer, n=n, seed=self.seed, apart_from=apart_from, **self.manner)

    def usual_metric(self, pairs: Pairs) -> str:
        return self.task.metric


@final
@dataclass(frozen=True)
class FileSource(Source):
    """The rows of a file, the first `examples` of them or all; `wording` is what `Pairs.from_prompts` takes.

    Where `bad_rows` are skipped, `skipped` of the file were, of which `said` warns. `share` of the others are held out, by a
    `seed`; with none split off, the rows after the first `examples`.
    """

    file: str
    rows: tuple[Row, ...]
    examples: int | None
    wording: Mapping[str, Any]
    seed: int = 0
    share: Share | None = None
    count: Count = None
    bad_rows: BadRows = "refuse"
    skipped: int = 0
    said: tuple[str, ...] = ()

    @cached_property
    def split(self) -> Split:
        """The rows of the two sides."""
        if self.count in (0, None) or not self.share:
            return Split(self.rows)
        return split_rows(self.rows, self.share, self.seed, self.file)

    def pairs(self, tokenizer: Any) -> Pairs:
        pairs = self._pairs(self.split.found_on, tokenizer, self.examples)
        usual = self.share == self.count == "auto"
        if not usual or self.split.held_out or len(self.rows) < ENOUGH_GROUPS:
            return pairs
        return replace(pairs, source=with_warnings(dict(pairs.source), [NOTHING_APART]))

    def _pairs(self, rows: tuple[Row, ...], tokenizer: Any, n: int | None) -> Pairs:
        pairs = to_pairs(rows, tokenizer, self.file, n=n, bad_rows=self.bad_rows, **self.wording)
        if not self.skipped:
            return pairs
        count = self.skipped + pairs.source.get("bad_rows", 0)
        return replace(pairs, source=with_warnings({**pairs.source, "bad_rows": count}, self.said))

    def held_out(self, tokenizer: Any, apart_from: Pairs) -> Pairs | None:
        """The rows that are split off; else those after the ones taken: as many as there are, and no more than asked for."""
        rows, n = self.split.held_out, None if self.count == "auto" else self.count
        if n == 0 or (not rows and n is None):
            return None
        if not rows:
            seen = {prompt for texts in apart_from.texts for prompt in texts}
            rows = tuple(row for row in self.rows if not {row.clean, row.corrupted} & seen)
        if not rows:
            raise InvalidValue(
                f"{self.file}: no row is left to hold out; use fewer for finding circuits, with --examples"
            )
        found = self._pairs(rows, tokenizer, n)
        return replace(found, source={**found.source, "held_out": True})

    def usual_metric(self, pairs: Pairs) -> str:
        """The logit difference, or without wrong answers the likelihood."""
        return "nll" if bool((pairs.wrong == NO_ANSWER).all(dim=1).any()) else "logit_diff"


def open_source(setting: Setting) -> Source:
    """The prompts of a setting.

    UnknownName for a task or corruption there is not, FileError for data that cannot be read, InvalidValue for a split that
    leaves nothing.
    """
    if setting.data is not None:
        found = rows_and_faults(setting.data, n=setting.examples)
        rows, said = sorted_out(setting.data, found, setting.bad_rows, FileError)
        source = FileSource(
            setting.data,
            tuple(rows),
            setting.examples,
            setting.wording,
            setting.seed,
            setting.split,
            setting.held_out,
            setting.bad_rows,
            len(found) - len(rows),
            tuple(said),
        )
        _ = source.split
        return source
    chosen = task(str(setting.task))
    if setting.corruption is not None and setting.corruption not in chosen.corruptions:
        raise UnknownName.of("corruption", setting.corruption, chosen.corruptions)
    manner = {"corruption": setting.corruption, **setting.wording}
    return TaskSource(chosen, setting.examples or EXAMPLES_OF_A_TASK, setting.seed, manner, setting.held_out)
