"""Histograms of scores in and out of a circuit, on a logarithmic axis.

Fig. 3 and 7 of "Attribution Patching Outperforms Automated Circuit Discovery" (Syed et al. 2023, arXiv:2310.10348); there
with the opposite sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.figures.canvas import COLOURS, axes_grid
from edgewise.scores import Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 100


@final
@dataclass(frozen=True)
class Side:
    """The scores on one side: how many in each bin, how many in all, their mean and standard deviation."""

    counts: tuple[int, ...]
    total: int
    mean: float
    deviation: float


@final
@dataclass(frozen=True)
class Histogram:
    """Scores of one method in and out of a circuit, in the same bins; `borders` has one more than there are bins."""

    name: str
    metric: str
    borders: tuple[float, ...]
    inside: Side
    outside: Side

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**vars(self), "inside": vars(self.inside), "outside": vars(self.outside)}


def histogram(scores: Scores, circuit: Circuit, *, name: str | None = None, bins: int = BINS) -> Histogram:
    """The scores of the edges in the circuit, and of all others. InvalidValue for infinite scores or an empty side."""
    if scores.graph != circuit.graph:
        raise GraphMismatch(f"the scores and the circuit are of different graphs: {scores.graph} and {circuit.graph}")
    values = {"in": scores.values[circuit.mask], "out of": scores.values[scores.graph.edge_mask & ~circuit.mask]}
    for side, some in values.items():
        if not len(some) or not bool(some.isfinite().all()):
            raise InvalidValue(f"no histogram: {'infinite scores' if len(some) else f'no edges {side} the circuit'}")
    inside, outside = (some.double().numpy() for some in values.values())
    borders = np.histogram_bin_edges(np.concatenate([inside, outside]), bins)
    title = name or str(scores.provenance.get("method", "scores"))
    metric = str(scores.provenance.get("metric", "the metric"))
    return Histogram(title, metric, tuple(borders.tolist()), _side(inside, borders), _side(outside, borders))


def _side(values: np.ndarray, borders: np.ndarray) -> Side:
    counts, _ = np.histogram(values, borders)
    return Side(tuple(counts.tolist()), len(values), float(values.mean()), float(values.std()))


def draw_histograms(figure: Figure, histograms: Sequence[Histogram]) -> None:
    """A panel for each method: edges of the circuit over all others, number on a logarithmic axis."""
    for axes, one in zip(axes_grid(figure, len(histograms)), histograms, strict=True):
        for label, side, colour in (
            ("not in the circuit", one.outside, COLOURS[5]),
            ("in the circuit", one.inside, COLOURS[1]),
        ):
            text = f"{label}: {side.total:,}, mean {side.mean:.3g}, sd {side.deviation:.3g}"
            axes.stairs(side.counts, one.borders, fill=True, color=colour, alpha=0.55, label=text)
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.6)
        axes.set_title(one.name)
        axes.set_xlabel(f"score ({one.metric.replace('_', ' ')}); positive: the edge helps")
        axes.set_ylabel("edges")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))
