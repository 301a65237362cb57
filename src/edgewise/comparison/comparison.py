"""Comparison: what every method found, beside one another, and printed as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from edgewise.comparison.result import Compared
from edgewise.comparison.tables import tables


@final
@dataclass(frozen=True)
class Comparison(Compared):
    """What several methods found on one model and one set of pairs; `print` shows the tables.

    `facts`: what was compared on: model, data, metric, ablation, examples, versions.
    `ends`: the clean and the corrupted value of every metric.
    `sizes`: the numbers of edges at which circuits were compared.
    `reference`: the circuit to recover, if there is one.
    `results`: a Result for each method.
    `exact`: the measured effect of every edge, if it was measured.
    `heads`: which heads the circuits of one size keep, if that was asked for.
    `grid`: how `eap+acdc` does over both of its thresholds, if that was asked for.
    `sample`: the measured effects of some edges, if that was asked for. Where there are held-out pairs, `ends` and
    every curve are measured on them.
    """

    def __str__(self) -> str:
        return "\n\n".join(str(table) for table in tables(self))
