"""Comparison: what every method found, beside one another, and printed as tables."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import final

from edgewise.comparison.result import Compared
from edgewise.comparison.tables import tables
from edgewise.viewer.notebook import table


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

    def _repr_html_(self) -> str:
        parts = [
            f"<h4>{escape(one.title)}</h4>{table(one.header, one.rows)}<p>{escape(one.note)}</p>"
            for one in tables(self)
        ]
        return f'<div style="max-width: 1000px; overflow: auto">{"".join(parts)}</div>'

    def __str__(self) -> str:
        return "\n\n".join(str(one) for one in tables(self))

    def __repr__(self) -> str:
        names = ", ".join(result.name for result in self.results)
        sizes = ", ".join(f"{size:,}" for size in self.sizes)
        return f"<Comparison: {names} at {sizes} edges, by {self.metric} on {self.judged_on}; print shows the tables>"
