"""Recovery: how well scores, or a series of circuits, find a circuit that is already known.

Every threshold (or circuit) is a point: the share of the reference that it finds (true positive rate, recall), the share of
everything else that it takes along (false positive rate), and its precision. The curve of these points is summed up in
the two conventions in use, which differ on the same points (`pessimistic_auc`, `trapezoid_auc`), and as average precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from edgewise.arguments import explained
from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.evaluation import universe
from edgewise.graph import Graph
from edgewise.scores import Scores

ENDS = ((0.0, 0.0), (1.0, 1.0))


class RecoveryPoint(NamedTuple):
    """One threshold: what is found there, against the reference.

    `fpr`, `tpr` and `precision` lie in [0, 1] (precision 1 where nothing is found); `size` counts what is found;
    `threshold` is None for a circuit and for the empty end of the curve.
    """

    fpr: float
    tpr: float
    precision: float
    size: int
    threshold: float | None = None

    @property
    def youden(self) -> float:
        """Youden's J: true minus false positive rate; 0 for a guess, 1 for the reference itself."""
        return self.tpr - self.fpr


@final
@dataclass(frozen=True)
class Recovery:
    """How well a known circuit was found, at one level: the curve and its areas.

    `true` of the `total` things at this level are in the reference. `denominators` has the same two numbers for every level:
    `edges` without and `counted-edges` with the 3·layers·heads "direct" edges into q, k and v that the ACDC paper
    counts, `nodes` and `published-nodes`. `points` run from nothing found to everything.
    """

    level: str
    points: tuple[RecoveryPoint, ...] = field(repr=False)
    auc_pessimistic: float
    auc_trapezoid: float
    average_precision: float
    denominators: Mapping[str, tuple[int, int]]

    @property
    def true(self) -> int:
        """How many things of this level are in the reference."""
        return self.denominators[self.level][0]

    @property
    def total(self) -> int:
        """How many things there are at this level."""
        return self.denominators[self.level][1]

    @property
    def best(self) -> RecoveryPoint:
        """The point with the largest Youden's J; the smallest of them on a tie."""
        return max(self.points, key=lambda point: (point.youden, -point.size))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, the points included."""
        points = [{**point._asdict(), "threshold": _finite(point.threshold)} for point in self.points]
        denominators = {name: list(counts) for name, counts in self.denominators.items()}
        return {**vars(self), "points": points, "denominators": denominators}

    def __str__(self) -> str:
        (edges, all_edges), (counted, all_counted) = (self.denominators[n] for n in ("edges", "counted-edges"))
        return (
            f"{self.level}: AUC {self.auc_pessimistic:.3f} pessimistic, {self.auc_trapezoid:.3f} trapezoid; "
            f"average precision {self.average_precision:.3f}; {len(self.points)} points; reference of {edges:,} of "
            f"{all_edges:,} edges ({counted:,} of {all_counted:,} with the direct edges into q, k and v)"
        )


@explained
def measure_recovery(
    found: Scores | Sequence[Circuit], reference: Circuit, *, level: str = "edges", absolute: bool = True
) -> Recovery:
    """How well `found` recovers `reference`: ROC and precision-recall over all thresholds, or over the circuits given.

    `level`, of `UNIVERSES`, is what is counted. Edges with equal scores enter together and make one point; `absolute`
    ranks scores by absolute value, as `Scores.top`. Circuits may come in any order and need not be nested.

    Raises GraphMismatch if the reference is of another graph, InvalidValue if it is missing, empty or everything at this
    level, or if there is nothing to compare, UnknownName for a level.
    """
    graph, truth = _shared_graph(found, reference), _truth(reference, level)
    points = (
        _score_points(_units(graph, _ranking(found, absolute), level), truth)
        if isinstance(found, Scores)
        else [_point(_units(graph, circuit.mask, level), truth) for circuit in found]
    )
    ends = [_point(torch.zeros_like(truth), truth), _point(torch.ones_like(truth), truth)]
    return _recovery(level, _in_order(points, ends), universe.denominators(reference))


# -- area under the curve --------------------------------------------------------------------------------------------


def pessimistic_auc(points: Iterable[tuple[float, float]]) -> float:
    """Area under the step curve that credits each point (fpr, tpr) only to its right: Σ (1 − xᵢ)(yᵢ − yᵢ₋₁).

    The ACDC paper's AUC (Conmy et al. 2023, arXiv:2304.14997): points beaten in both rates are left out first, and
    (0, 0) and (1, 1) added. Few points give a small area, whatever they are.

    >>> pessimistic_auc([]), pessimistic_auc([(0.5, 0.5)]), pessimistic_auc([(0.25, 0.25), (0.5, 0.5)])
    (0.0, 0.25, 0.3125)
    """
    front = pareto([*ENDS, *points])
    return math.fsum((1 - x) * (y - before) for (_, before), (x, y) in pairwise(front))


def trapezoid_auc(points: Iterable[tuple[float, float]]) -> float:
    """Area under the straight lines between the points (fpr, tpr): Σ (xᵢ − xᵢ₋₁)(yᵢ + yᵢ₋₁) / 2.

    The EAP paper's AUC (Syed et al. 2023, arXiv:2310.10348): all points, in order of x and then y, with (0, 0) and
    (1, 1) added. Over all thresholds of scores it is the probability that a true edge outranks a false one.

    >>> trapezoid_auc([]), trapezoid_auc([(0.0, 0.5)])
    (0.5, 0.75)
    """
    ordered = sorted([*ENDS, *points])
    return math.fsum((x - x0) * (y + y0) / 2 for (x0, y0), (x, y) in pairwise(ordered))


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both rates (smaller x and larger y, both strictly), in order of x, then y.

    >>> pareto([(0.2, 0.4), (0.1, 0.5), (0.3, 0.5)])
    [(0.1, 0.5), (0.3, 0.5)]
    """
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        # Before it stand the smaller x and, with the same x, the smaller y: neither of the latter can be above it.
        if not front or point[1] >= front[-1][1]:
            front.append(point)
    return front


def average_precision(points: Iterable[RecoveryPoint]) -> float:
    """Area under the precision-recall steps: Σ (Rᵢ − Rᵢ₋₁) Pᵢ in order of recall R, as scikit-learn defines it."""
    ordered = sorted(points, key=lambda point: (point.tpr, point.fpr))
    return math.fsum((point.tpr - before.tpr) * point.precision for before, point in pairwise(ordered))


# -- points ----------------------------------------------------------------------------------------------------------


def _shared_graph(found: Scores | Sequence[Circuit], reference: Circuit) -> Graph:
    """The graph that all of these are on; InvalidValue or GraphMismatch, in one sentence, if they cannot be compared."""
    if not isinstance(reference, Circuit):
        raise InvalidValue("recovery needs a reference circuit and got none; give the circuit that is to be found")
    if not isinstance(found, Scores) and not found:
        raise InvalidValue("recovery needs scores or at least one circuit; the list is empty")
    for finding in [found] if isinstance(found, Scores) else found:
        if finding is not found and not isinstance(finding, Circuit):
            raise InvalidValue(f"recovery needs Scores or a list of Circuits, not of {type(finding).__name__}")
        if finding.graph != reference.graph:
            raise GraphMismatch(
                f"the reference is of another model: {reference.graph}; what was found: {finding.graph}"
            )
    return reference.graph


def _truth(reference: Circuit, level: str) -> Tensor:
    """bool [unit]: what the reference has; InvalidValue where there is nothing to find, or nothing else."""
    truth = _units(reference.graph, reference.mask, level)
    if not bool(truth.any()):
        raise InvalidValue("the reference circuit is empty, so there is nothing to recover")
    if bool(truth.all()):
        raise InvalidValue(f"the reference has all {truth.numel():,} {level}, so there is nothing to tell it from")
    return truth


def _units(graph: Graph, values: Tensor, name: str) -> Tensor:
    return universe.level(name)(graph, values)


def _ranking(scores: Scores, absolute: bool) -> Tensor:
    """[writer, reader]: the scores as ranked; -inf, so that it is never the largest, where the pair is no edge."""
    values = scores.values.abs() if absolute else scores.values
    return values.masked_fill(~scores.graph.edge_mask, -torch.inf)


def _score_points(values: Tensor, truth: Tensor) -> list[RecoveryPoint]:
    """A point for every distinct value, largest first: what is at least that large."""
    ordered, order = values.sort(descending=True, stable=True)
    thresholds, counts = ordered.unique_consecutive(return_counts=True)
    sizes = counts.cumsum(0)
    hits = truth[order].cumsum(0)[sizes - 1]
    false, true = _sides(truth)
    rows = zip(sizes.tolist(), hits.tolist(), thresholds.tolist(), strict=True)
    return [
        RecoveryPoint((size - hit) / false, hit / true, hit / size, size, threshold) for size, hit, threshold in rows
    ]


def _point(present: Tensor, truth: Tensor) -> RecoveryPoint:
    size, hits = int(present.sum()), int((present & truth).sum())
    false, true = _sides(truth)
    return RecoveryPoint((size - hits) / false, hits / true, hits / size if size else 1.0, size)


def _sides(truth: Tensor) -> tuple[int, int]:
    """How many are not in the reference, and how many are."""
    true = int(truth.sum())
    return truth.numel() - true, true


def _in_order(points: list[RecoveryPoint], ends: list[RecoveryPoint]) -> tuple[RecoveryPoint, ...]:
    """Each point once, the ends among them, in order of false and then true positive rate."""
    unique = {point[:4]: point for point in [*ends, *points]}
    return tuple(unique[key] for key in sorted(unique))


def _recovery(level: str, points: tuple[RecoveryPoint, ...], denominators: Mapping[str, tuple[int, int]]) -> Recovery:
    rates = [point[:2] for point in points]
    return Recovery(
        level=level,
        points=points,
        auc_pessimistic=pessimistic_auc(rates),
        auc_trapezoid=trapezoid_auc(rates),
        average_precision=average_precision(points),
        denominators=denominators,
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
