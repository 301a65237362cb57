"""effects: what single edges, and paths of several, do to the metric, each replaced alone."""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.arguments import refuse_empty_batch, typed
from edgewise.attribution.exact import effects_of
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.reachability import path_name, path_of
from edgewise.request import Request
from edgewise.surroundings import neutrally


@typed
@watched
@neutrally
def effects(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    pairs: Pairs,
    edges: Sequence[str | Sequence[str]],
    *,
    metric: AnyMetric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    track: Track = silent,
    progress: bool | None = None,
) -> dict[str, float]:
    """Measure the drop of the metric when one edge, or one path, alone is replaced, for each of some.

    `subject`, `pairs`, `metric`, `ablation`, `batch_size`, `track`, `progress`: as in `attribute`.
    `edges`: names of edges, such as "m0->a3.h7<q>", and paths of several, such as "input->a3.h1<v>->m5->logits", which
    `Circuit.paths` gives; or the names of the edges of a path, as a list. Where heads share a key or value, a path says
    which head it goes on from: "input->a3.kv0<v>:a3.h1->logits".

    Of a path, its first reader gets the first writer replaced; each node on the way is computed again with what it gets
    over the path, everything else being as in the clean run; and what that changes in what it writes reaches the next
    reader alone. What follows the last reader follows it (path patching; Goldowsky-Dill et al. 2023, arXiv:2304.05969).

    Returns a dictionary from each name to the drop, in units of the metric, mean over the pairs. For edges these are the
    scores of the method "exact". Raises UnknownName for an edge that the graph does not have, InvalidValue for edges that
    are no path.
    """
    refuse_empty_batch(batch_size)
    request = Request(subject, pairs, find_metric(metric), find_ablation(ablation), batch_size, track)
    graph = subject.graph
    names = [edge if isinstance(edge, str) else path_name(graph, path_of(graph, edge)) for edge in edges]
    return dict(zip(names, effects_of(request, names).tolist(), strict=True))
