"""effects: what single edges, and paths of several, do to the metric, each replaced alone."""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.arguments import typed
from edgewise.attribution.exact import effects_of
from edgewise.errors import InvalidValue
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.request import Request
from edgewise.surroundings import neutrally


@typed
@watched
@neutrally
def effects(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    pairs: Pairs,
    edges: Sequence[str],
    *,
    metric: AnyMetric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    track: Track = silent,
    progress: bool | None = None,
) -> dict[str, float]:
    """Measure the drop of the metric when one edge alone is replaced, for each of some edges.

    `subject`, `pairs`, `metric`, `ablation`, `batch_size`, `track`, `progress`: as in `attribute`.
    `edges`: names of edges, such as "m0->a3.h7<q>".

    Returns a dictionary from each name to the drop, in units of the metric, mean over the pairs. These are the scores
    of the method "exact". Raises UnknownName for an edge that the graph does not have.
    """
    if batch_size < 1:
        raise InvalidValue(f"batch size {batch_size}: it must be at least 1")
    request = Request(subject, pairs, find_metric(metric), find_ablation(ablation), batch_size, track)
    return dict(zip(edges, effects_of(request, edges).tolist(), strict=True))
