"""Where the prompts of a run come from: a task, or the rows of a file; and the metric that goes with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

from edgewise.ablations import ablation
from edgewise.data.pair_files import Row, read_rows, to_pairs
from edgewise.errors import InvalidValue, UnknownName
from edgewise.metrics import metric
from edgewise.pairs import NO_ANSWER, Pairs
from edgewise.runs.recipe import Setting
from edgewise.tasks import task

EXAMPLES = 64

S = TypeVar("S", bound=Setting)


@final
@dataclass(frozen=True)
class Source(Generic[S]):
    """Where prompts come from: a task, or the rows of a file; and the metric that goes with them."""

    recipe: S
    rows: tuple[Row, ...] | None

    def pairs(self, tokenizer: Any) -> Pairs:
        """The pairs for this tokenizer."""
        if self.rows is not None:
            return to_pairs(self.rows, tokenizer, str(self.recipe.data), n=self.recipe.examples, **self.recipe.wording)
        n = self.recipe.examples or EXAMPLES
        chosen = task(str(self.recipe.task))
        how = {"corruption": self.recipe.corruption, **self.recipe.wording}
        return chosen.pairs(tokenizer, n=n, seed=self.recipe.seed, **how)

    def held_out(self, tokenizer: Any, n: int, apart_from: Pairs) -> Pairs:
        """`n` further pairs, none of whose clean prompts is among those of `apart_from`.

        A task draws them; of a file they are the rows after those taken, as many as there are and no more than `n`.
        """
        if self.rows is None:
            how = {"corruption": self.recipe.corruption, **self.recipe.wording}
            chosen = task(str(self.recipe.task))
            return chosen.pairs(tokenizer, n=n, seed=self.recipe.seed, apart_from=apart_from, **how)
        seen = {clean for clean, _ in apart_from.texts}
        rows = tuple(row for row in self.rows if row.clean not in seen)
        if not rows:
            raise InvalidValue(
                f"{self.recipe.data}: no row is left to hold out; use fewer for finding circuits, with --examples"
            )
        return to_pairs(rows, tokenizer, str(self.recipe.data), n=n, **self.recipe.wording)

    def metric(self, pairs: Pairs) -> str:
        """The recipe's metric, or the task's; of data the logit difference, or without wrong answers the likelihood."""
        if self.recipe.metric is not None:
            return metric(self.recipe.metric).name
        if self.recipe.task is not None:
            return task(self.recipe.task).metric
        return "nll" if bool((pairs.wrong == NO_ANSWER).all(dim=1).any()) else "logit_diff"


def open_source(setting: S) -> Source[S]:
    """The prompts of a setting, once its task, corruption, ablation and metric are known names; reads its data."""
    if setting.task is not None:
        corruptions = task(setting.task).corruptions
        if setting.corruption is not None:
            _known("corruption", setting.corruption, corruptions)
    ablation(setting.ablation)
    if setting.metric is not None:
        metric(setting.metric)
    return Source(setting, read_rows(setting.data) if setting.data is not None else None)


def _known(kind: str, name: str, known: Iterable[str]) -> None:
    known = tuple(known)
    if name not in known:
        raise UnknownName.of(kind, name, known)
