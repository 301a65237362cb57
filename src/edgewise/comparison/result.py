"""What every method of a comparison found, beside one another; frozen and serialisable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from edgewise.circuit import Circuit
from edgewise.comparison.case_study import Heads
from edgewise.comparison.method_run import MethodOutcome
from edgewise.comparison.reference import Reference
from edgewise.comparison.sample import Sample
from edgewise.errors import UnknownName
from edgewise.evaluation import Grid, MetricReport, Recovery
from edgewise.scores import Scores
from edgewise.store.schema import VERSION, plain

COMPARISON = "edgewise/comparison"
# Curves are written to files with at most so many points; areas are those of all.
POINTS_WRITTEN = 400


@final
@dataclass(frozen=True)
class Measured:
    """One circuit of a method: how many `edges` it has, how many `live_edges` of them on a path, and what it keeps.

    `metrics` are those of the circuit, `faithfulness` their share of the way from corrupted to clean; None stands for what
    is no number (a faithfulness where clean and corrupted are equal).
    """

    edges: int
    live_edges: int
    metrics: Mapping[str, float | None]
    faithfulness: Mapping[str, float | None]


@final
@dataclass(frozen=True)
class Result:
    """One method: what it recovers of the reference, how it agrees with exact effects, what its circuits keep.

    `recovery` is by level (`edges`, `nodes`), empty without a reference. `agreement` with the exact effects of all edges
    (None where these are unknown or it is they): `spearman` of signed scores (None for a search, which has no signs),
    `spearman_absolute` of their sizes, `overlap` of the `top` edges by size; with those of a sample of edges `pearson`, no
    `overlap`. `curve` has the circuits that were measured,
    from few edges to many: of a search all it found, of scores one for each size. `areas` are those of the MIB benchmark:
    `cpr`, `cmd` and `auroc`, the last None without a reference (`edgewise.evaluation.areas`).
    """

    name: str
    outcome: MethodOutcome
    recovery: Mapping[str, Recovery]
    agreement: Mapping[str, float | None] | None
    curve: tuple[Measured, ...]
    areas: Mapping[str, float | None]

    @property
    def scores(self) -> Scores:
        """Its score of every edge."""
        return self.outcome.scores

    def at(self, size: int) -> Measured:
        """What its circuit of that size keeps, or of a search the one nearest in size (the smaller on a tie)."""
        return min(self.curve, key=lambda point: (abs(point.edges - size), point.edges))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        entry, provenance = self.outcome.entry, self.scores.provenance
        return {
            "name": self.name,
            "method": entry.method,
            "options": provenance.get("options", {}),
            "metric": provenance.get("metric"),
            "ranking": entry.ranking,
            "manner": self.outcome.manner,
            "dial": self.outcome.size_option,
            "values": list(self.outcome.values),
            "sizes_found": [len(circuit) for circuit in self.outcome.circuits],
            "tested": self.outcome.tested,
            "work": self.outcome.work,
            "cost": self.outcome.cost,
            "seconds": round(self.outcome.seconds, 3),
            "recovery": {level: _recovery(one) for level, one in self.recovery.items()},
            "agreement": self.agreement,
            "areas": dict(self.areas),
            "curve": [vars(point) for point in self.curve],
        }


@dataclass(frozen=True)
class Compared(ABC):
    """Methods beside one another on one model and one set of pairs.

    `facts` say on what (model, data, metric, ablation, examples, versions); `ends` has the clean and the corrupted value of
    every metric; `exact` the measured effect of every edge, where it was measured; `heads` which heads circuits of one size
    keep and `grid` how `eap+acdc` does over both of its thresholds, where that was asked for; `sample` the measured effects
    of some edges. `ends` and every curve are of the pairs in `facts["data"]["judged_on"]` where there are held-out ones.
    """

    facts: Mapping[str, Any]
    ends: Mapping[str, MetricReport]
    sizes: tuple[int, ...]
    reference: Reference | None
    results: tuple[Result, ...]
    exact: Scores | None = None
    heads: Heads | None = None
    grid: Grid | None = None
    sample: Sample | None = None

    def __getitem__(self, name: str) -> Result:
        for result in self.results:
            if result.name == name:
                return result
        raise UnknownName.of("method in this comparison", name, [result.name for result in self.results])

    @property
    def metric(self) -> str:
        """What edges are scored by."""
        return str(self.facts["metric"])

    @property
    def judged_on(self) -> str:
        """In words, the pairs on which circuits were measured."""
        data = self.facts["data"]
        if "judged_on" not in data:
            return f"the {data['examples']} pairs they were found on"
        return f"{data['judged_on']['examples']} held-out pairs, found on {data['examples']} others"

    @property
    def total_edges(self) -> int:
        """How many edges the model has: the denominator of every share."""
        return self.results[0].scores.graph.n_edges

    def circuit(self, name: str, edges: int) -> Circuit:
        """The circuit of a method at a size: its best-scored edges, or of a search the nearest it found."""
        return self[name].outcome.nearest(edges)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: the document `comparison.json`."""
        ends = {name: {"clean": one.clean, "corrupted": one.corrupted} for name, one in self.ends.items()}
        return plain(
            {
                "schema": COMPARISON,
                "version": VERSION,
                **self.facts,
                "total_edges": self.total_edges,
                "sizes": self.sizes,
                "ends": ends,
                "reference": self.reference.to_dict() if self.reference else None,
                "results": [result.to_dict() for result in self.results],
                "heads": self.heads.to_dict() if self.heads else None,
                "grid": self.grid.to_dict() if self.grid else None,
                **({"sample": self.sample.to_dict()} if self.sample else {}),
            }
        )

    @abstractmethod
    def __str__(self) -> str:
        """The tables."""


def _recovery(recovery: Recovery) -> dict[str, Any]:
    """A recovery with no more points than a curve needs; the ends are always among them."""
    fields = recovery.to_dict()
    points, step = fields["points"], -(-len(recovery.points) // POINTS_WRITTEN)
    shown = [*points[:-1:step], points[-1]]
    best = {"youden": recovery.best.youden, **recovery.best._asdict()}
    return {**fields, "points": shown, "points_in_all": len(points), "best": best}
