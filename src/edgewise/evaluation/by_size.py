"""Faithfulness over the number of edges: what each cut costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgewise.ablations import Ablation
from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.curve import Curve, CurvePoint
from edgewise.evaluation.faithfulness import evaluate_each, random_mask
from edgewise.graph import Graph
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent


@typed
def faithfulness_curve(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    circuits: Sequence[Circuit],
    pairs: Pairs,
    *,
    metric: AnyMetric = "logit_diff",
    ranking: str = "absolute",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    random: int = 0,
    track: Track = silent,
) -> Curve:
    """Faithfulness of each circuit, and of as many random edges (`random` is their seed), by number of edges.

    `ranking` says which score ordered the edges. Both ends need no run: no edges keep nothing, all keep everything.
    """
    chosen, graph = find_metric(metric), subject.graph
    drawn = [Circuit(graph, random_mask(graph, len(circuit), random)) for circuit in circuits]
    options: dict[str, Any] = {"metrics": [chosen], "ablation": ablation, "batch_size": batch_size, "track": track}
    shares = [
        _known(report[chosen.name].faithfulness)
        for report in evaluate_each(subject, [*circuits, *drawn], pairs, **options)
    ]
    points = [CurvePoint(0, 0.0, 0.0), CurvePoint(graph.n_edges, 1.0, 1.0)]
    for circuit, share, by_chance in zip(circuits, shares, shares[len(circuits) :], strict=False):
        points.append(CurvePoint(len(circuit), share, by_chance))
    return Curve(chosen.name, ranking, tuple(sorted(points, key=lambda point: point.edges)))


@typed
def curve_sizes(graph: Graph, count: int) -> tuple[int, ...]:
    """`count` sizes between 1 and all edges, each the same multiple of the one before.

    >>> curve_sizes(Graph(12, 12, 12), 4)
    (8, 64, 509, 4068)
    """
    return geometric_sizes(graph.n_edges, count)


def geometric_sizes(total: int, count: int) -> tuple[int, ...]:
    """`count` sizes between 1 and `total`, each the same multiple of the one before, those that are equal once."""
    steps = (round(total ** (i / (count + 1))) for i in range(1, count + 1))
    return tuple(sorted({step for step in steps if 0 < step < total}))


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
