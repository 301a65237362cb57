"""Faithfulness over the number of edges: what each cut costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgewise.ablations import Ablation
from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.curve import Curve, CurvePoint
from edgewise.errors import InvalidValue
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
    sizes: Sequence[int] | None = None,
    known: Mapping[int, float] | None = None,
    metric: AnyMetric = "logit_diff",
    ranking: str = "absolute",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    random: int = 0,
    track: Track = silent,
) -> Curve:
    """Faithfulness of each circuit, and of as many random edges (`random` is their seed), by number of edges.

    `sizes`: as how many edges each counts, where dangling ones were dropped; by default as many as it has. `known`: what
    circuits of some sizes are known to keep; these are not run again, and stand on the curve too. `ranking` says which score
    ordered the edges. Both ends need no run: no edges keep nothing, all keep everything.
    """
    chosen, graph, known = find_metric(metric), subject.graph, known or {}
    if not all(type(size) is int and isinstance(share, int | float) for size, share in known.items()):
        raise InvalidValue("known: give what circuits are known to keep by their numbers of edges, such as {48: 0.9}")
    sizes = sizes if sizes is not None else [len(circuit) for circuit in circuits]
    asked = {size: circuit for size, circuit in zip(sizes, circuits, strict=True) if size not in known}
    drawn = {size: Circuit(graph, random_mask(graph, size, random)) for size in sizes}
    options: dict[str, Any] = {"metrics": [chosen], "ablation": ablation, "batch_size": batch_size, "track": track}
    reports = evaluate_each(subject, [*asked.values(), *drawn.values()], pairs, **options)
    shares = [_known(report[chosen.name].faithfulness) for report in reports]
    kept: dict[int, float | None] = {**known, **dict(zip(asked, shares[: len(asked)], strict=True))}
    by_chance = dict(zip(drawn, shares[len(asked) :], strict=True))
    points = [CurvePoint(0, 0.0, 0.0), CurvePoint(graph.n_edges, 1.0, 1.0)]
    points += [CurvePoint(size, share, by_chance.get(size)) for size, share in kept.items()]
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
