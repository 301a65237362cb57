"""Whether a model does at all what a circuit is looked for in: what a report warns of, with what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgewise.evaluation.report import MetricReport
from edgewise.metrics import Metric
from edgewise.pairs import NO_ANSWER, Pairs
from edgewise.prompts.habits import WARNINGS


def noticed(metrics: Sequence[Metric], reports: Mapping[str, MetricReport], pairs: Pairs) -> tuple[str, ...]:
    """Sentences about the pairs, and about clean runs that are no better than chance or than the corrupted ones."""
    found = list(pairs.source.get(WARNINGS, ()))
    for metric in metrics:
        report = reports[metric.name]
        if metric.name == "accuracy":
            found += _no_better_than_chance(report.clean, chance(pairs))
        elif metric.sign * report.clean <= metric.sign * report.corrupted:
            found.append(
                f"{metric.name} is {report.clean:.3g} on the clean prompts, no better than {report.corrupted:.3g} with every "
                "edge replaced: the model does not do here what is asked; look at the answers, above all at their spaces, or "
                "take another model or other prompts"
            )
    return tuple(dict.fromkeys(found))


def chance(pairs: Pairs) -> float:
    """How often a guess among the right and wrong answers is right; 0 where some pairs have no wrong answers."""
    right, wrong = ((side != NO_ANSWER).sum(dim=1).double() for side in (pairs.correct, pairs.wrong))
    return float((right / (right + wrong)).mean()) if bool((wrong > 0).all()) else 0.0


def _no_better_than_chance(clean: float, by_chance: float) -> list[str]:
    if clean > by_chance:
        return []
    rate = f"{clean:.0%} of the clean prompts" if clean else "none of the clean prompts"
    guess = f", and a guess in {by_chance:.0%}" if by_chance else ""
    return [
        f"the model gives a right answer in {rate}{guess}: look at the answers, above all at their spaces, or take another "
        "model or other prompts"
    ]
