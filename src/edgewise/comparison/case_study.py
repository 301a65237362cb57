"""Case study: which heads every method keeps at one size, and what each head is worth to the circuit that keeps it.

Attribution looks at one edge at a time. A head that it drops, although the circuit of a search is farther from the model
without it, works with others: alone it scored low, together it matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from edgewise.comparison.method_run import MethodOutcome
from edgewise.comparison.reference import known_reference
from edgewise.evaluation import HeadRow, HeadStudy, study_heads
from edgewise.models.subject import Subject
from edgewise.request import Request
from edgewise.tasks.references import REFERENCES

WORTH_METRIC = "kl"
# A head counts as worth something from this share of the KL of the model with every edge replaced.
WORTH_SHARE = 0.01


@final
@dataclass(frozen=True)
class Cooperation:
    """The heads that matter to the circuit of the search `kept_by` and that `dropped_by` drops, dearest first."""

    kept_by: str
    dropped_by: str
    heads: tuple[HeadRow, ...]


@final
@dataclass(frozen=True)
class Heads:
    """Circuits nearest to `size`, of `edges` edges each, and for each a study of its heads, in the order of the methods.

    The worth of a head is how much farther from the model, in KL, the circuit is without it; `least` is what counts.
    """

    size: int
    least: float
    edges: Mapping[str, int]
    searches: tuple[str, ...]
    studies: tuple[HeadStudy, ...]

    @property
    def cooperation(self) -> tuple[Cooperation, ...]:
        """Every search beside every method that only scores."""
        pairs = ((study, other) for study in self.studies for other in self.edges)
        return tuple(
            Cooperation(study.base, other, study.cooperating(other, above=self.least))
            for study, other in pairs
            if study.base in self.searches and other not in self.searches
        )

    def rows(self) -> Iterator[tuple[HeadRow, dict[str, float]]]:
        """Every head that a circuit keeps, with its worth to each circuit that keeps it."""
        for same in zip(*(study.rows for study in self.studies), strict=True):
            worth = {study.base: row.worth for study, row in zip(self.studies, same, strict=True)}
            yield same[0], {name: value for name, value in worth.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        rows = [{"head": row.head, "role": row.role, "worth": worth} for row, worth in self.rows()]
        together = [
            {"kept_by": one.kept_by, "dropped_by": one.dropped_by, "heads": {row.head: row.worth for row in one.heads}}
            for one in self.cooperation
        ]
        return {
            "size": self.size,
            "metric": WORTH_METRIC,
            "least": self.least,
            "edges": dict(self.edges),
            "rows": rows,
            "cooperation": together,
        }


def heads(outcomes: Sequence[MethodOutcome], size: int, request: Request, *, replaced: float) -> Heads:
    """The study of what these methods found; `replaced` is the KL of the model with every edge replaced."""
    circuits = {outcome.entry.name: outcome.nearest(size) for outcome in outcomes if outcome.entry.method != "random"}
    source = request.pairs.source.get("task")
    known = roles(request.subject, str(source) if source is not None else None)
    conditions: dict[str, Any] = {
        "ablation": request.ablation,
        "batch_size": request.batch_size,
        "metric": WORTH_METRIC,
        "track": request.track,
    }
    studies = [
        study_heads(request.subject, circuits, request.pairs, base=base, roles=known, **conditions) for base in circuits
    ]
    searches = tuple(outcome.entry.name for outcome in outcomes if outcome.circuits)
    sizes = {name: len(circuit) for name, circuit in circuits.items()}
    return Heads(size, WORTH_SHARE * replaced, sizes, searches, tuple(studies))


def roles(subject: Subject, task_name: str | None) -> dict[str, str]:
    """Head → its role in the circuit published for the task; empty where that is of another model."""
    if task_name not in REFERENCES:
        return {}
    known = known_reference(task_name)
    if known.circuit.graph != subject.graph:
        return {}
    found: dict[str, list[str]] = {}
    for group, nodes in known.groups.items():
        for node in nodes:
            found.setdefault(node, []).append(group.replace("_", " "))
    return {node: ", ".join(groups) for node, groups in found.items()}
