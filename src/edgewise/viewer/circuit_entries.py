"""The circuits of a page: their facts, what they keep and on which pairs, example prompts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from edgewise.display import clean
from edgewise.viewer.caption import facts, title
from edgewise.viewer.document import CircuitEntry, ExampleEntry, MetricEntry
from edgewise.viewer.finding import Finding
from edgewise.viewer.missing import repeat

TEXT, TOKEN, TOKENS, ANSWERS = 400, 60, 400, 12
METRIC = ("clean", "corrupted", "circuit", "random", "faithfulness", "random_faithfulness")


def circuit_entries(finding: Finding) -> list[CircuitEntry]:
    """The circuits of a finding, the one it is compared with and the reference, as far as there are such."""
    found = [_circuit("a", finding)]
    if finding.other is not None:
        found.append(_circuit("b", finding.other))
    if finding.reference is not None:
        known = finding.reference.provenance
        label = f"reference: {known.get('reference', 'published circuit')}"
        found.append(_circuit("reference", Finding(finding.reference, label=label)))
    return found


def _circuit(key: Any, finding: Finding) -> CircuitEntry:
    circuit = finding.shown
    known = circuit.provenance
    return CircuitEntry(
        key=key,
        label=clean(finding.label or title(circuit), 90),
        described=clean(circuit.describe(), TEXT) if finding.circuit is not None else "scores, no circuit",
        edges=len(circuit) if finding.circuit is not None else 0,
        has_path=circuit.has_path,
        facts=[(clean(label, TEXT), clean(text, TEXT)) for label, text in _told(finding)],
        metrics=_metrics(finding.report),
        judged=_judged(finding.report),
        examples=examples(known),
        repeat=repeat(known.get("recipe")),
    )


def _told(finding: Finding) -> list[tuple[str, str]]:
    """The facts of the circuit; of scores alone, without the size of the circuit that a picture takes from them."""
    found = facts(finding.shown)
    return (
        found
        if finding.circuit is not None
        else [section for section in found if section[0] not in ("edges", "selection")]
    )


def listed(value: Any) -> list[Any]:
    """What should be a list, as one; empty if it is something else."""
    return list(value) if isinstance(value, list | tuple) else []


def _metrics(report: Mapping[str, Any]) -> list[MetricEntry]:
    metrics = report.get("metrics")
    if not isinstance(metrics, Mapping):
        return []
    rows = [(name, row) for name, row in metrics.items() if isinstance(row, Mapping)]
    return [MetricEntry(name=clean(name, 60), **{key: finite(row.get(key)) for key in METRIC}) for name, row in rows]


def _judged(report: Mapping[str, Any]) -> str:
    """Which pairs a circuit was judged on, and how much closer to the model it is on those it was found on."""
    examples, seen = report.get("examples"), _inner(report, "found_on")
    if not isinstance(examples, int):
        return ""
    if not seen:
        return f"measured on {examples:,} {'held-out ' if report.get('held_out') is True else ''}pairs"
    metrics = _inner(seen, "metrics")
    share, ratio = finite(_inner(metrics, next(iter(metrics), "")).get("faithfulness")), finite(seen.get("overfitting"))
    there = "" if share is None else f"; {share:.0%} faithful on those it was found on"
    times = "" if ratio is None else f"; KL is {ratio:.2f} × that on those it was found on"
    return f"measured on {examples:,} held-out pairs{there}{times}"


def _inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = value.get(name)
    return inner if isinstance(inner, Mapping) else {}


def examples(provenance: Mapping[str, Any]) -> list[ExampleEntry]:
    """The example prompts of a circuit, as far as they are usable."""
    return [_example(prompt) for prompt in listed(provenance.get("prompts")) if isinstance(prompt, Mapping)]


def _example(value: Mapping[str, Any]) -> ExampleEntry:
    def words(name: str, most: int) -> list[str]:
        return [clean(token, TOKEN) for token in listed(value.get(name))[:most]]

    return ExampleEntry(
        clean=words("clean", TOKENS),
        corrupted=words("corrupted", TOKENS),
        correct=words("correct", ANSWERS),
        wrong=words("wrong", ANSWERS),
    )


def finite(value: Any) -> float | None:
    """A number that JSON can hold, or None."""
    held = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return float(value) if held else None
