"""select: the smallest circuit along a ranking that keeps a share of the behaviour."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from edgewise.ablations import Ablation
from edgewise.arguments import checked_faithfulness, typed
from edgewise.circuit import Circuit
from edgewise.contract import best_scored
from edgewise.errors import InvalidValue, NumericalError
from edgewise.evaluation.by_size import geometric_sizes
from edgewise.evaluation.faithfulness import evaluate_each
from edgewise.evaluation.report import Report
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.scores import Scores
from edgewise.surroundings import neutrally

# How many circuits are evaluated: first some of every size together, then one after the other between two of them.
SIZES_AT_FIRST, MOST_TRIED = 7, 14


@typed
@watched
@neutrally
def select(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    scores: Scores,
    pairs: Pairs,
    *,
    faithfulness: float,
    absolute: bool = True,
    metric: AnyMetric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    track: Track = silent,
    progress: bool | None = None,
) -> Circuit:
    """Select the smallest circuit along the ranking of scores that keeps a share of the behaviour.

    `subject`: the model, from `load`.
    `scores`: scores of its edges, nodes or neurons.
    `pairs`: the prompts to measure on; best those that the scores were not made on.
    `faithfulness`: the share of the metric to keep, above 0 and at most 1.
    `absolute`: whether to rank by absolute value, or by signed value.
    `metric`: what is to be kept, a name or a Metric.
    `ablation`: what edges outside the circuit carry.
    `batch_size`, `track`, `progress`: as in `evaluate`.

    At most 14 sizes are tried: some of every size, then ever nearer to the smallest of them that keeps enough. The circuit is
    the smallest of those tried; faithfulness need not rise with the size, so that there may be a smaller one. Its provenance
    says which were tried, under "selection", and what it keeps. Returns a Circuit without what is on no path. Raises
    InvalidValue if no size that was tried keeps enough, with the best of them, and NumericalError if the metric is the same
    for the clean and the corrupted run.
    """
    share, chosen = checked_faithfulness(faithfulness), find_metric(metric)
    options: dict[str, Any] = {"metrics": [chosen], "ablation": ablation, "batch_size": batch_size, "track": track}

    def reports(sizes: list[int]) -> list[Report]:
        circuits = [best_scored(scores, size, absolute=absolute) for size in sizes]
        return evaluate_each(subject, circuits, pairs, **options)

    search = SizeSearch(share, chosen.name, reports)
    size = search.smallest(len(scores), scores.level)
    report = search.tried[size]
    circuit = best_scored(scores, size, absolute=absolute)
    kept = {"metric": chosen.name, "circuit": search.kept(size), "random": None}
    judged_on = {"held_out": report.examples} if report.held_out else {}
    told = {**circuit.provenance["selection"], "faithfulness": share, "metric": chosen.name, "tried": search.told}
    return circuit.with_provenance(selection=told, faithfulness={**kept, **judged_on})


@final
@dataclass
class SizeSearch:
    """Looks for the smallest size at which `share` of a metric is kept; `tried`: the reports of the sizes so far."""

    share: float
    metric: str
    reports: Callable[[list[int]], list[Report]]
    tried: dict[int, Report] = field(default_factory=dict)

    def smallest(self, total: int, level: str) -> int:
        """The smallest size tried, below `total`, that keeps enough."""
        self._try(list(geometric_sizes(total, SIZES_AT_FIRST)))
        enough = min(filter(self._keeps, self.tried), default=total)
        while len(self.tried) < MOST_TRIED:
            too_few = max((size for size in self.tried if size < enough), default=0)
            if enough - too_few <= 1:
                break
            middle = round(math.sqrt(max(too_few, 1) * enough))
            between = max(too_few + 1, min(enough - 1, middle))
            self._try([between])
            enough = between if self._keeps(between) else enough
        if enough not in self.tried:
            raise self._refusal(level)
        return enough

    def kept(self, size: int) -> float:
        """The faithfulness at a size that was tried."""
        return self.tried[size][self.metric].faithfulness

    @property
    def told(self) -> list[dict[str, float]]:
        """What was tried, as plain values, from small to large."""
        return [{"size": size, "faithfulness": self.kept(size)} for size in sorted(self.tried)]

    def _keeps(self, size: int) -> bool:
        return self.kept(size) >= self.share

    def _try(self, sizes: list[int]) -> None:
        self.tried.update(zip(sizes, self.reports(sizes), strict=True))
        for size in sizes:
            if math.isnan(self.kept(size)):
                raise NumericalError(
                    f"{self.metric} is {self.tried[size][self.metric].clean:.4g} with everything kept and with nothing kept, "
                    "so that no share of it can be; choose another metric or other pairs"
                )

    def _refusal(self, level: str) -> InvalidValue:
        best = max(self.tried, key=self.kept, default=None)
        found = "there is none to try" if best is None else f"the best, {best:,} {level}, keeps {self.kept(best):.4g}"
        return InvalidValue(
            f"none of the {len(self.tried)} sizes tried keeps {self.share:g} of {self.metric}: {found}; ask for less, or for "
            "a size"
        )
