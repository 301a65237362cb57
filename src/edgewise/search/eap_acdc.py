"""EAP, then ACDC: attribution names the candidates, ACDC tests these alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

from torch import Tensor

from edgewise.attribution import attribution as find_attribution
from edgewise.attribution.memory import within_memory
from edgewise.circuit import Circuit
from edgewise.errors import InvalidValue
from edgewise.metrics import metric
from edgewise.options import option
from edgewise.request import Request
from edgewise.scores import Scores
from edgewise.search.acdc import EdgeByEdge
from edgewise.search.base import Kept, at_value
from edgewise.search.incremental import SearchState
from edgewise.search.trace import trace_key
from edgewise.tasks import TASKS, task


@final
@dataclass(frozen=True)
class EAPThenACDC(EdgeByEdge):
    """Let attribution name the candidates, then test these alone by ACDC.

        candidates = { e : |score(e)| ≥ threshold },        then `acdc` on them

    The two thresholds are independent. As in `acdc`, the search goes from the output back, and everything before the
    current reader is still clean, candidate or not. At each reader, its other edges are removed at once and untested;
    then its candidates are tested one by one. A q, k or v without candidates is not tried as a whole.

    Syed, Rager, Conmy 2023, "Attribution Patching Outperforms Automated Circuit Discovery" (arXiv:2310.10348).
    """

    share: float = option(0.1, "the share of all edges to test: those with the largest absolute scores")
    threshold: float | None = option(
        None, "the smallest absolute score of a candidate, instead of a share", unit="attribution_metric"
    )
    attribution: str = option("eap", "the method that scores the candidates")
    attribution_metric: str | None = option(
        None,
        "the metric of these scores; none: the task's, or logit_diff (kl is flat at the clean run)",
    )
    name: ClassVar[str] = "eap+acdc"
    summary: ClassVar[str] = "attribution names candidates, ACDC tests these alone"
    cost: ClassVar[str] = "two passes, then part of a forward for each candidate"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.10348"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _is_number(self.share) or not 0 <= self.share <= 1:
            raise InvalidValue(
                f"share={self.share!r} must be from 0 to 1: it is the share of all edges that ACDC tests"
            )
        if self.threshold is not None and (not _is_number(self.threshold) or not self.threshold >= 0):
            raise InvalidValue(
                f"threshold={self.threshold!r} must be at least 0: it is the smallest absolute score of a candidate"
            )
        find_attribution(self.attribution)  # refuses what scores no edges
        if self.attribution_metric is not None:
            metric(self.attribution_metric)

    def search(self, request: Request) -> Kept:
        scores = self.attribute(request)
        return self.refine(SearchState(request), scores)

    def sweep(self, values: Sequence[float], request: Request) -> list[Kept]:
        scores, state = self.attribute(request), SearchState(request)
        searches = [at_value(self, value) for value in values]
        return [search.refine(state, scores) for search in searches if isinstance(search, EAPThenACDC)]

    def attribute(self, request: Request) -> Scores:
        """What the candidates are chosen by."""
        for_scores = replace(request, metric=metric(self._scored_by(request)))
        attribution = find_attribution(self.attribution)()
        with within_memory(attribution, for_scores) as fitting:
            return Scores(request.subject.graph, attribution.scores(fitting))

    def units(self, request: Request) -> dict[str, str]:
        found = super().units(request)
        return {**found, "threshold": self._scored_by(request)} if "threshold" in found else found

    def _scored_by(self, request: Request) -> str:
        """The name of the metric that candidates are scored by."""
        task_name = str(request.pairs.source.get("task"))
        usual_metric = task(task_name).metric if task_name in TASKS else "logit_diff"
        return metric(self.attribution_metric or usual_metric).name

    def candidates(self, request: Request) -> Tensor:
        return self._chosen(self.attribute(request)).mask

    def refine(self, state: SearchState, scores: Scores) -> Kept:
        """ACDC on the candidates that these scores name."""
        chosen = self._chosen(scores)
        key = {**trace_key(self, state.request), "batch_size": state.request.batch_size}
        found = self.found(state, chosen.mask, key)
        return replace(found, counts={"candidates": len(chosen), **found.counts})

    def _chosen(self, scores: Scores) -> Circuit:
        return scores.top(round(self.share * len(scores))) if self.threshold is None else scores.above(self.threshold)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
