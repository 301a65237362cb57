"""What every method of a comparison found, beside one another; frozen and serialisable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from edgewise.circuit import Circuit
from edgewise.comparison.case_study import Heads
from edgewise.comparison.method_run import MethodOutcome
from edgewise.comparison.reference import Reference
from edgewise.comparison.sample import Sample
from edgewise.errors import UnknownName
from edgewise.evaluation import Grid, MetricReport, Recovery
from edgewise.evaluation.report import overfitting
from edgewise.prompts.habits import WARNINGS
from edgewise.scores import Scores
from edgewise.store.schema import VERSION, plain

COMPARISON = "edgewise/comparison"
# Curves are written to files with at most so many points; areas are those of all.
POINTS_WRITTEN = 400


@final
@dataclass(frozen=True)
class Measured:
    """One circuit of a method, and what it keeps.

    `edges`: how many edges it has.
    `live_edges`: how many of them lie on a path from input to logits.
    `metrics`: each metric of the circuit, by name.
    `faithfulness`: their shares of the way from corrupted to clean; None where the two are equal.
    `found_on`: the metrics on the pairs it was found on, where it was measured on others; else None.
    """

    edges: int
    live_edges: int
    metrics: Mapping[str, float | None]
    faithfulness: Mapping[str, float | None]
    found_on: Mapping[str, float | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The values as a dictionary for JSON."""
        return {name: value for name, value in vars(self).items() if name != "found_on" or value is not None}

    @property
    def overfitting(self) -> float | None:
        """KL on held-out pairs over KL on those it was found on; None where either is not known."""
        return overfitting((self.found_on or {}).get("kl"), self.metrics.get("kl"))


@final
@dataclass(frozen=True)
class Result:
    """What one method recovers, how it agrees with exact effects, and what its circuits keep.

    `name`: the name of the method in this comparison.
    `outcome`: what it found, at which cost.
    `recovery`: how much of the reference it finds, by level ("edges", "nodes"); empty without a reference.
    `agreement`: with exact effects; `spearman` of signed scores (None for a search, whose scores have no sign),
    `spearman_absolute` of their sizes, `overlap` of the `top` edges by size. With a sample of edges it has `pearson`
    and no `overlap`. None where exact effects are not known.
    `curve`: the circuits that were measured, from few edges to many: all that a search found, or one for each size.
    `areas`: those of the MIB benchmark, `cpr`, `cmd` and `auroc`; the last is None without a reference.
    """

    name: str
    outcome: MethodOutcome
    recovery: Mapping[str, Recovery] = field(repr=False)
    agreement: Mapping[str, float | None] | None
    curve: tuple[Measured, ...] = field(repr=False)
    areas: Mapping[str, float | None]

    @property
    def scores(self) -> Scores:
        """The method's score of every edge."""
        return self.outcome.scores

    def at(self, size: int) -> Measured:
        """What its circuit of `size` edges keeps; for a search the circuit nearest in size, the smaller one on a tie."""
        return min(self.curve, key=lambda point: (abs(point.edges - size), point.edges))

    def to_dict(self) -> dict[str, Any]:
        """The values as a dictionary for JSON."""
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
            "curve": [point.to_dict() for point in self.curve],
        }


@dataclass(frozen=True)
class Compared(ABC):
    """What several methods found on one model and one set of pairs, as values; a Comparison prints them as tables."""

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
        """The Result of a method by its name; UnknownName for one that was not compared."""
        for result in self.results:
            if result.name == name:
                return result
        raise UnknownName.of("method in this comparison", name, [result.name for result in self.results])

    @property
    def metric(self) -> str:
        """The name of the metric that edges are scored by."""
        return str(self.facts["metric"])

    @property
    def judged_on(self) -> str:
        """The pairs on which circuits were measured, in words."""
        data = self.facts["data"]
        if "judged_on" not in data:
            return f"the {data['examples']} pairs they were found on"
        return f"{data['judged_on']['examples']} held-out pairs, found on {data['examples']} others"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what is seldom meant, such as a model that does no better on the clean prompts."""
        return tuple(self.facts["data"].get(WARNINGS, ()))

    @property
    def total_edges(self) -> int:
        """How many edges the model has."""
        return self.results[0].scores.graph.n_edges

    def circuit(self, name: str, edges: int) -> Circuit:
        """The circuit of the method `name` with its best `edges` edges; for a search the nearest in size that it found."""
        return self[name].outcome.nearest(edges)

    def to_dict(self) -> dict[str, Any]:
        """The values as a dictionary for JSON: the document `comparison.json`."""
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
