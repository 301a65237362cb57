"""Predicted against measured: the score of every edge beside its exact effect, with the line that fits best.

Fig. 4a of "Attribution Patching Outperforms Automated Circuit Discovery" (Syed et al. 2023, arXiv:2310.10348), for any
method, model and task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.figures.canvas import COLOURS, PLOT_FAINT, axes_grid
from edgewise.scores import Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS_AS_VECTORS = 3000


@final
@dataclass(frozen=True)
class Scatter:
    """One point for each edge, in the order of `Graph.edges`, and the least-squares line effect = slope · score + intercept.

    `r2` is the share of the effects' variance that the line explains; NaN where scores or effects are all alike.
    """

    name: str
    metric: str
    scores: tuple[float, ...]
    effects: tuple[float, ...]
    slope: float
    intercept: float
    r2: float

    @property
    def equation(self) -> str:
        """The line in words."""
        sign = "−" if self.intercept < 0 else "+"
        return f"effect = {self.slope:.3g} · score {sign} {abs(self.intercept):.2g}   (R² = {self.r2:.2f})"

    def to_dict(self) -> dict[str, Any]:
        """The line, as plain values; the points are in the files of the scores."""
        return {
            "name": self.name,
            "metric": self.metric,
            "edges": len(self.scores),
            "slope": self.slope,
            "intercept": self.intercept,
            "r2": self.r2,
        }


def scatter(scores: Scores, exact: Scores, *, name: str | None = None) -> Scatter:
    """The scores of a method against exact effects. InvalidValue for infinite scores, GraphMismatch for another graph's.

    Both positive where the edge helps, in units of the metric: a perfect method lies on the diagonal.
    """
    if scores.graph != exact.graph:
        raise GraphMismatch(f"the scores are of different graphs: {scores.graph} and {exact.graph}")
    mask = scores.graph.edge_mask
    x, y = (side.values.T[mask.T].double().numpy() for side in (scores, exact))
    if not np.isfinite(x).all():
        raise InvalidValue(
            "these scores are infinite for some edges, as those of a search are, so they predict no effects"
        )
    slope, intercept, r2 = _line(x, y)
    title = name or str(scores.provenance.get("method", "scores"))
    metric = str(exact.provenance.get("metric", "the metric"))
    return Scatter(title, metric, tuple(x.tolist()), tuple(y.tolist()), slope, intercept, r2)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    dx, dy = x - x.mean(), y - y.mean()
    if not (dx @ dx and dy @ dy):
        return float("nan"), float("nan"), float("nan")
    slope = float(dx @ dy / (dx @ dx))
    return slope, float(y.mean() - slope * x.mean()), float((dx @ dy) ** 2 / (dx @ dx) / (dy @ dy))


def draw_scatters(figure: Figure, scatters: Sequence[Scatter]) -> None:
    """A panel for each method: points, the fitted line, and in grey the diagonal of a perfect prediction."""
    for axes, one in zip(axes_grid(figure, len(scatters)), scatters, strict=True):
        ends = np.array([min(one.scores), max(one.scores)])
        both = [min(*one.scores, *one.effects), max(*one.scores, *one.effects)]
        axes.plot(both, both, color=PLOT_FAINT, linewidth=0.9, label="score = effect", zorder=1)
        # A vector for every point of a large model would make a file of megabytes.
        many = len(one.scores) > POINTS_AS_VECTORS
        axes.scatter(
            one.scores, one.effects, s=16, color=COLOURS[0], alpha=0.55, linewidths=0, zorder=2, rasterized=many
        )
        axes.plot(ends, one.slope * ends + one.intercept, color=COLOURS[1], label=one.equation, zorder=3)
        axes.set_title(one.name)
        axes.set_xlabel(f"score ({one.metric.replace('_', ' ')})")
        axes.set_ylabel("exact effect of replacing the edge")
        axes.legend(loc="best")
