"""Grid: attribution and ACDC combined over both of their thresholds, held against a known circuit.

Syed et al. 2023 (arXiv:2310.10348): for every pair of thresholds the true and false positive rate, Youden's J, and how many
forward passes ACDC needed on the candidates that attribution left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.evaluation import universe
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent
from edgewise.request import Request
from edgewise.scores import Scores
from edgewise.search import EAPThenACDC
from edgewise.search.incremental import SearchState

# Pairs attribution looks at together; its scores do not depend on it.
BATCH_SIZE = 8


@final
@dataclass(frozen=True)
class GridPoint:
    """One pair of thresholds: the edges attribution leaves, those ACDC keeps, its forward passes, and the rates."""

    threshold: float
    tau: float
    candidates: int
    edges: int
    forwards: int
    tpr: float
    fpr: float

    @property
    def youden(self) -> float:
        """Youden's J: true minus false positive rate."""
        return self.tpr - self.fpr


@final
@dataclass(frozen=True)
class Grid:
    """All points, threshold by threshold and in each tau by tau, as they were given; `level`: what the rates count."""

    level: str
    points: tuple[GridPoint, ...]

    @property
    def best(self) -> GridPoint:
        """The point with the largest Youden's J; on a tie that with the fewest edges."""
        return max(self.points, key=lambda point: (point.youden, -point.edges))

    def rows(self) -> list[dict[str, str]]:
        """A line of text for each point."""
        return [
            {
                "threshold": f"{point.threshold:.4g}",
                "tau": f"{point.tau:.4g}",
                **{name: f"{getattr(point, name):,}" for name in ("candidates", "edges", "forwards")},
                **{name: f"{getattr(point, name):.3f}" for name in ("tpr", "fpr", "youden")},
            }
            for point in self.points
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"level": self.level, "points": [{**vars(point), "youden": point.youden} for point in self.points]}


@typed
def measure_grid(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    pairs: Pairs,
    reference: Circuit,
    *,
    thresholds: Sequence[float],
    taus: Sequence[float],
    metric: AnyMetric = "kl",
    ablation: str | Ablation = "corrupted",
    level: str = "counted-edges",
    track: Track = silent,
) -> Grid:
    """Both thresholds of `eap+acdc` over a grid, against `reference`; `metric` is what ACDC goes by.

    Attribution runs once, and searches that decide alike share what they measure. `level` names what is counted
    (`universe.UNIVERSES`). GraphMismatch if the reference is of another graph, InvalidValue if there is nothing to try.
    """
    if not len(reference) or len(reference) == subject.graph.n_edges:
        raise InvalidValue(
            "a grid needs a reference circuit with some but not all edges; give the circuit that is to be found"
        )
    if reference.graph != subject.graph:
        raise GraphMismatch(f"the reference is of another model: {reference.graph}; this one: {subject.graph}")
    if not thresholds or not taus:
        raise InvalidValue("a grid needs at least one threshold and at least one tau")
    searches = [EAPThenACDC(threshold=threshold, tau=tau) for threshold in thresholds for tau in taus]
    request = Request(subject, pairs, find_metric(metric), find_ablation(ablation), BATCH_SIZE, track)
    scores, state = searches[0].attribute(request), SearchState(request)
    return Grid(level, tuple(_point(search, state, scores, reference, level) for search in searches))


def _point(search: EAPThenACDC, state: SearchState, scores: Scores, truth: Circuit, level: str) -> GridPoint:
    circuit, counted = search.refine(state, scores), universe.level(level)
    known, kept = counted(truth.graph, truth.mask), counted(truth.graph, circuit.mask)
    return GridPoint(
        threshold=float(search.threshold or 0.0),
        tau=search.tau,
        candidates=circuit.counts["candidates"],
        edges=int(circuit.mask.sum()),
        forwards=circuit.counts["tested"],
        tpr=int((known & kept).sum()) / int(known.sum()),
        fpr=int((~known & kept).sum()) / int((~known).sum()),
    )
