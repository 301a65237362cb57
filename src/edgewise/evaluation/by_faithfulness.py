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
from edgewise.evaluation.report import MetricReport
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.scores import Scores
from edgewise.surroundings import neutrally

# How many circuits are evaluated: first some of every size together, then some between two of them, and so on. Together they
# share the clean and the corrupted run, which cost more than a circuit.
SIZES_AT_FIRST, ROUNDS, SIZES_IN_A_ROUND = 6, 3, 4


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

    At most 18 sizes are tried: some of every size, then ever nearer to the smallest of them that keeps enough.
    The circuit is the smallest of those tried; faithfulness need not rise with the size, so that there may be a smaller one.
    Its provenance says which were tried, under "selection", and what it keeps. Returns a Circuit without what is on no path.
    Raises InvalidValue if no size that was tried keeps enough, with the best of them, and NumericalError if the metric is the
    same for the clean and the corrupted run.
    """
    share, chosen = checked_faithfulness(faithfulness), find_metric(metric)
    options: dict[str, Any] = {"metrics": [chosen], "ablation": ablation, "batch_size": batch_size, "track": track}

    def measured(sizes: list[int]) -> list[MetricReport]:
        circuits = [best_scored(scores, size, absolute=absolute) for size in sizes]
        return [report[chosen.name] for report in evaluate_each(subject, circuits, pairs, **options)]

    search = SizeSearch(share, chosen.name, measured)
    size = search.smallest(len(scores), scores.level)
    circuit = best_scored(scores, size, absolute=absolute)
    kept = {"metric": chosen.name, "circuit": search.tried[size], "random": None}
    judged_on = {"held_out": len(pairs)} if pairs.source.get("held_out") else {}
    return circuit.with_provenance(selection=search.told(circuit), faithfulness={**kept, **judged_on})


def sizes_between(low: int, high: int) -> list[int]:
    """At most so many sizes as a round has, each about the same multiple of the one before.

    >>> sizes_between(100, 3200), sizes_between(0, 4)
    ([200, 400, 800, 1600], [1, 2, 3])
    """
    if high - low <= SIZES_IN_A_ROUND + 1:
        return list(range(low + 1, high))
    start = max(low, 1)
    steps = (round(start * (high / start) ** (i / (SIZES_IN_A_ROUND + 1))) for i in range(1, SIZES_IN_A_ROUND + 1))
    return sorted({step for step in steps if low < step < high})


@final
@dataclass
class SizeSearch:
    """Looks for the smallest size at which `share` of a metric is kept; `tried`: what each of the sizes so far keeps."""

    share: float
    metric: str
    measured: Callable[[list[int]], list[MetricReport]]
    tried: dict[int, float] = field(default_factory=dict)

    def smallest(self, total: int, level: str) -> int:
        """The smallest size tried, below `total`, that keeps enough; InvalidValue if there is none."""
        self._try(list(geometric_sizes(total, SIZES_AT_FIRST)))
        enough = min(filter(self._keeps, self.tried), default=total)
        for _ in range(ROUNDS):
            too_few = max((size for size in self.tried if size < enough), default=0)
            if enough - too_few <= 1:
                break
            self._try(sizes_between(too_few, enough))
            enough = min(filter(self._keeps, self.tried), default=total)
        if enough not in self.tried:
            raise self._refusal(level)
        return enough

    def told(self, circuit: Circuit) -> dict[str, Any]:
        """How a circuit of a size that was tried was selected, for its provenance: sizes from small to large."""
        tried = [{"size": size, "faithfulness": self.tried[size]} for size in sorted(self.tried)]
        return {**circuit.provenance["selection"], "faithfulness": self.share, "metric": self.metric, "tried": tried}

    def _keeps(self, size: int) -> bool:
        return self.tried[size] >= self.share

    def _try(self, sizes: list[int]) -> None:
        for size, report in zip(sizes, self.measured(sizes), strict=True):
            if math.isnan(report.faithfulness):
                raise NumericalError(
                    f"{self.metric} is {report.clean:.4g} with everything kept and with nothing kept, "
                    "so that no share of it can be; choose another metric or other pairs"
                )
            self.tried[size] = report.faithfulness

    def _refusal(self, level: str) -> InvalidValue:
        best = max(self.tried, key=self.tried.__getitem__, default=None)
        found = "there is none to try" if best is None else f"the best, {best:,} {level}, keeps {self.tried[best]:.4g}"
        return InvalidValue(
            f"none of the {len(self.tried)} sizes tried keeps {self.share:g} of {self.metric}: {found}; ask for less, or for "
            "a size"
        )
