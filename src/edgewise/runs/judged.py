"""How a run judges what it found: the report of a circuit on pairs, and what the time went into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgewise.circuit import Circuit
from edgewise.evaluation import Report, evaluate
from edgewise.prompts.habits import WARNINGS
from edgewise.request import Request

# On how many of the pairs that a circuit was found on it is evaluated, where it is judged on others.
SHOWN_OF_FOUND_ON = 128


def reported_metrics(first: str) -> list[str]:
    """The metrics a run reports: its own, then those that every circuit is asked for."""
    return list(dict.fromkeys([first, "kl", "accuracy"]))


def report_on(request: Request, circuit: Circuit, reported: str, random: int | None) -> Report:
    """The report of a circuit on the pairs of a request; `random`: the seed of the random circuit beside it, if any."""
    return evaluate(
        request.subject,
        circuit,
        request.pairs,
        metrics=reported_metrics(reported),
        ablation=request.ablation,
        batch_size=request.batch_size,
        random=random,
        track=request.track,
    )


def first_pairs(request: Request) -> Request:
    """The request on the first of its pairs, closed edges carrying what they carry on all."""
    if len(request.pairs) <= SHOWN_OF_FOUND_ON:
        return request
    return replace(request, pairs=request.pairs[:SHOWN_OF_FOUND_ON], ablation=request.ablation.over_all(request.pairs))


def shown_faithfulness(report: Report, name: str) -> dict[str, Any]:
    """The faithfulness of a report, for the provenance of its circuit."""
    measured = report[name]
    judged_on = {"held_out": report.examples} if report.held_out else {}
    return {"metric": name, "circuit": measured.faithfulness, "random": measured.random_faithfulness, **judged_on}


def warnings_of(report: Report) -> dict[str, Any]:
    """What the report warns of, for the provenance of its circuit; nothing if it warns of nothing."""
    return {WARNINGS: list(report.warnings)} if report.warnings else {}


def time_spent(circuits: Sequence[Circuit], seconds: float) -> dict[str, float]:
    """What the method spent its time on, as far as it says so, and what is left of it as `finding`."""
    parts: dict[str, float] = {}
    for circuit in circuits:
        for name, part in circuit.provenance.get("spent", {}).items():
            parts[name] = parts.get(name, 0.0) + part
    return {**parts, "finding": max(0.0, seconds - sum(parts.values()))}
