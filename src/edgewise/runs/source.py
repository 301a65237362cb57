"""Where the prompts of a run come from: a task, or the rows of a file; and the metric that goes with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from edgewise.data.pair_files import read_rows, to_pairs
from edgewise.data.rows import Row
from edgewise.errors import InvalidValue, UnknownName
from edgewise.pairs import NO_ANSWER, Pairs
from edgewise.runs.recipe import Setting
from edgewise.tasks import Task, task

EXAMPLES_OF_A_TASK = 64


class Source(ABC):
    """Where prompts come from, and the metric that goes with them."""

    @abstractmethod
    def pairs(self, tokenizer: Any) -> Pairs:
        """The pairs for this tokenizer."""

    @abstractmethod
    def held_out(self, tokenizer: Any, n: int, apart_from: Pairs) -> Pairs:
        """`n` further pairs, none of whose clean prompts is among those of `apart_from`."""

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

    def pairs(self, tokenizer: Any) -> Pairs:
        return self.task.pairs(tokenizer, n=self.examples, seed=self.seed, **self.manner)

    def held_out(self, tokenizer: Any, n: int, apart_from: Pairs) -> Pairs:
        """As many as asked for: the task draws them."""
        return self.task.pairs(tokenizer, n=n, seed=self.seed, apart_from=apart_from, **self.manner)

    def usual_metric(self, pairs: Pairs) -> str:
        return self.task.metric


@final
@dataclass(frozen=True)
class FileSource(Source):
    """The rows of a file, the first `examples` of them or all; `wording` is what `Pairs.from_prompts` takes."""

    file: str
    rows: tuple[Row, ...]
    examples: int | None
    wording: Mapping[str, Any]

    def pairs(self, tokenizer: Any) -> Pairs:
        return to_pairs(self.rows, tokenizer, self.file, n=self.examples, **self.wording)

    def held_out(self, tokenizer: Any, n: int, apart_from: Pairs) -> Pairs:
        """The rows after those taken, as many as there are and no more than `n`."""
        seen = {clean for clean, _ in apart_from.texts}
        rows = tuple(row for row in self.rows if row.clean not in seen)
        if not rows:
            raise InvalidValue(
                f"{self.file}: no row is left to hold out; use fewer for finding circuits, with --examples"
            )
        return to_pairs(rows, tokenizer, self.file, n=n, **self.wording)

    def usual_metric(self, pairs: Pairs) -> str:
        """The logit difference, or without wrong answers the likelihood."""
        return "nll" if bool((pairs.wrong == NO_ANSWER).all(dim=1).any()) else "logit_diff"


def open_source(setting: Setting) -> Source:
    """The prompts of a setting; UnknownName for a task or corruption there is not, FileError for data that cannot be read."""
    if setting.data is not None:
        return FileSource(setting.data, read_rows(setting.data), setting.examples, setting.wording)
    chosen = task(str(setting.task))
    if setting.corruption is not None and setting.corruption not in chosen.corruptions:
        raise UnknownName.of("corruption", setting.corruption, chosen.corruptions)
    manner = {"corruption": setting.corruption, **setting.wording}
    return TaskSource(chosen, setting.examples or EXAMPLES_OF_A_TASK, setting.seed, manner)
