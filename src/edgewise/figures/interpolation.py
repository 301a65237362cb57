"""Interpolation: the metric as the value on one edge moves from clean to replaced, beside the straight line of its score.

    value(λ) = clean + λ · (replaced − clean),   λ in [0, 1],   on one edge; all other edges clean

A first-order score extends the slope at λ = 0. Where the curve flattens it promises too much: Fig. 4b and 9 of "Attribution
Patching Outperforms Automated Circuit Discovery" (Syed et al. 2023, arXiv:2310.10348).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from edgewise.engine.forward import masked_forward
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import InvalidValue
from edgewise.figures.canvas import COLOURS, PLOT_FAINT, axes_grid
from edgewise.request import Batch, Request
from edgewise.scores import Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# λ of every point; with 0 the clean run and 1 the edge replaced.
SHARES = tuple(number / 10 for number in range(11))
# A bend of less than this share of the largest effect is none.
STRAIGHT_WITHIN = 1e-3
EDGES_SHOWN = 6

Shape = Literal["straight", "concave", "convex", "mixed"]


@final
@dataclass(frozen=True)
class Interpolation:
    """One edge: `effects[i]` is how far the metric (higher is better) has dropped at `shares[i]`; `score` the prediction."""

    edge: str
    metric: str
    shares: tuple[float, ...]
    effects: tuple[float, ...]
    score: float

    @property
    def effect(self) -> float:
        """The drop when the edge is wholly replaced: its exact effect."""
        return self.effects[-1]

    @property
    def overestimate(self) -> float:
        """How far the score is beyond the effect, in the direction of the larger of the two; negative if it falls short."""
        return self._direction * (self.score - self.effect)

    @property
    def verdict(self) -> str:
        """Shape, effect, and how far the score is off, in a few words."""
        off = "too much" if self.overestimate > 0 else "too little"
        return f"{self.shape}: effect {self.effect:.3g}, score {self.score:.3g}, {abs(self.overestimate):.2g} {off}"

    @property
    def shape(self) -> Shape:
        """`concave` if the drop slows down all the way, so that its first slope promises too much, `convex` if it grows.

        An edge whose replacement helps is turned round first.
        """
        bends = np.diff(np.array(self.effects) * self._direction, 2)
        tolerance = STRAIGHT_WITHIN * max(map(abs, self.effects))
        slows, grows = bool((bends <= tolerance).all()), bool((bends >= -tolerance).all())
        return "straight" if slows and grows else "concave" if slows else "convex" if grows else "mixed"

    @property
    def _direction(self) -> float:
        return float(np.sign(max(self.score, self.effect, key=abs)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**vars(self), "effect": self.effect, "overestimate": self.overestimate, "shape": self.shape}


@torch.no_grad()
def interpolate(
    request: Request, scores: Scores, edges: Sequence[str], *, shares: Sequence[float] = SHARES
) -> tuple[Interpolation, ...]:
    """The curve of each edge, mean over the pairs. `shares` ascend from 0 to 1. UnknownName for an edge that is none."""
    if list(shares) != sorted(set(shares)) or len(shares) < 3 or (shares[0], shares[-1]) != (0, 1):
        raise InvalidValue(f"shares must ascend from 0 to 1 with at least one between, not {list(shares)}")
    places = [request.subject.graph.edge_index(edge) for edge in edges]
    sums = torch.zeros(len(edges), len(shares), dtype=torch.float64)
    for batch in request.track(
        request.each_batch(), request.batches, f"moving {len(edges)} edges from clean to replaced"
    ):
        sums += _drops(batch, places, torch.tensor(shares, dtype=torch.float64))
    drops = (sums / len(request.pairs)).tolist()
    metric = request.metric.name
    return tuple(
        Interpolation(edge, metric, tuple(shares), tuple(row), scores[edge])
        for edge, row in zip(edges, drops, strict=True)
    )


def worst_predicted(scores: Scores, exact: Scores, count: int = EDGES_SHOWN) -> tuple[str, ...]:
    """`count` edges: half those whose score is furthest beyond their effect, half those where it falls furthest short."""
    distance, larger = scores.values - exact.values, scores.values.abs() > exact.values.abs()
    excess = Scores(scores.graph, torch.where(larger, distance.abs(), -distance.abs()))
    most = excess.top(min(-(-count // 2), scores.graph.n_edges), absolute=False)
    least = Scores(scores.graph, -excess.values).top(min(count // 2, scores.graph.n_edges), absolute=False)
    return tuple(sorted((most | least).edges, key=lambda edge: -excess[edge]))


def _drops(batch: Batch, places: Sequence[tuple[int, int]], shares: Tensor) -> Tensor:
    """Drops [edge, share] of the metric, summed over one batch."""
    subject, pairs = batch.subject, batch.pairs
    clean = subject.logits(pairs.clean, pairs.positions)
    baseline, workspace = batch.objective(clean, clean), Workspace()
    at_once, rows = tiling_for(subject.device).masks, []
    for writer, reader in places:
        masks = subject.graph.edge_mask.double().repeat(len(shares), 1, 1)
        masks[:, writer, reader] = 1 - shares
        parts = (
            masked_forward(subject, pairs.clean, pairs.positions, some, batch.replacement, workspace=workspace)
            for some in masks.split(at_once)
        )
        values = [batch.objective(logits, clean) for logits in torch.cat(list(parts))]
        rows.append(torch.stack([(baseline - value).double().sum().cpu() for value in values]))
    return torch.stack(rows)


def draw_interpolations(figure: Figure, curves: Sequence[Interpolation]) -> None:
    """A panel for each edge: the measured curve, and the line its score draws."""
    grid = axes_grid(figure, len(curves))
    for axes, one in zip(grid, curves, strict=True):
        axes.axhline(0.0, color=PLOT_FAINT, linewidth=0.8, zorder=1)
        axes.plot(one.shares, one.effects, color=COLOURS[0], marker="o", label="measured")
        axes.plot((0, 1), (0, one.score), color=COLOURS[1], linestyle=(0, (5, 1.6)), label="score")
        axes.set_title(one.edge)
        axes.set_xlabel(f"λ, clean → replaced\n{one.verdict}")
        axes.set_ylabel(f"drop in {one.metric.replace('_', ' ')}")
    grid[0].legend(loc="best")
