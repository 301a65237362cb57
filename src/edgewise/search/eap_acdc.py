"""EAP, then ACDC: attribution names the candidates in two passes, ACDC tests these alone.

    candidates = { e : |score(e)| ≥ threshold },        then ACDC on them

Syed et al. 2023, "Attribution Patching Outperforms Automated Circuit Discovery". The two thresholds are independent. ACDC
goes its way from the output back, and everything before the reader at hand is still clean, candidate or not; when the turn
comes to a reader, its other edges go at once and untested, then the candidates are tested one after the other. A q, k or v
without candidates is not tried as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from edgewise.attribution import ATTRIBUTIONS
from edgewise.errors import InvalidValue, UnknownName
from edgewise.metrics import metric
from edgewise.request import Request
from edgewise.scores import Scores
from edgewise.search.base import Kept, SharingSearch, dialled, refuse_edges
from edgewise.search.hunt import Ground, Rule
from edgewise.search.trace import Trace
from edgewise.tasks import TASKS, task


@final
@dataclass(frozen=True)
class EAPThenACDC(SharingSearch):
    """`share` of all edges are candidates, by absolute score, or with `threshold` those whose score is at least that.

    `attribution`: the method that scores them, by `attribution_metric`: the task's, or the logit difference, unless another
    is given (KL, which ACDC goes by, is flat where gradients are taken). `tau`, `rule`, `whole_readers` and `trace` are those
    of ACDC.
    """

    share: float = 0.1
    threshold: float | None = None
    attribution: str = "eap"
    attribution_metric: str | None = None
    tau: float = 0.01
    rule: Literal["signed", "absolute"] = "signed"
    whole_readers: bool = True
    trace: str | None = None
    name: ClassVar[str] = "eap+acdc"
    summary: ClassVar[str] = "attribution keeps candidates, ACDC tests these alone"
    cost: ClassVar[str] = "two passes, then part of a forward for each candidate"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.10348"
    metric: ClassVar[str] = "kl"
    dial: ClassVar[str] = "tau"
    dial_values: ClassVar[tuple[float, ...]] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)

    def __post_init__(self) -> None:
        _ = self.criterion  # refuses what makes no sense
        if not _is_number(self.share) or not 0 <= self.share <= 1:
            raise InvalidValue(
                f"share is {self.share!r}: give the share of all edges that ACDC is to test, from 0 to 1"
            )
        if self.threshold is not None and (not _is_number(self.threshold) or not self.threshold >= 0):
            raise InvalidValue(f"threshold is {self.threshold!r}: give the smallest absolute score of a candidate")
        if self.attribution not in ATTRIBUTIONS:
            raise UnknownName.of("attribution", self.attribution, ATTRIBUTIONS)
        if self.attribution_metric is not None:
            metric(self.attribution_metric)

    @property
    def criterion(self) -> Rule:
        """When a removal is taken back."""
        return Rule(self.tau, self.rule, self.whole_readers)

    def for_edges(self, edges: int | None) -> EAPThenACDC:
        refuse_edges(self.name, edges)
        return self

    def search(self, request: Request) -> Kept:
        scores = self.attribute(request)
        return self.refine(Ground(request), scores)

    def sweep(self, values: Sequence[float], request: Request) -> list[Kept]:
        scores, ground = self.attribute(request), Ground(request)
        return [one.refine(ground, scores) for value in values if isinstance(one := dialled(self, value), EAPThenACDC)]

    def attribute(self, request: Request) -> Scores:
        """What the candidates are chosen by."""
        name = str(request.pairs.source.get("task"))
        usual = task(name).metric if name in TASKS else "logit_diff"
        wanted = replace(request, metric=metric(self.attribution_metric or usual))
        return Scores(request.subject.graph, ATTRIBUTIONS[self.attribution]().scores(wanted))

    def refine(self, ground: Ground, scores: Scores) -> Kept:
        """ACDC on the candidates that these scores name."""
        chosen = scores.top(round(self.share * len(scores))) if self.threshold is None else scores.above(self.threshold)
        trace = Trace.open(Path(self.trace) if self.trace else None, self._key(ground.request))
        found = ground.hunt(self.criterion, chosen.mask, trace, f"{self.name}, tau {self.tau:g}")
        return replace(found, counts={"candidates": len(chosen), **found.counts})

    def _key(self, request: Request) -> dict[str, Any]:
        options = {name: repr(value) for name, value in asdict(self).items() if name != "trace"}
        return {"edgewise": self.name, "options": options, "batch_size": request.batch_size, **request.key}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
