"""Head map: the heads of several circuits by role: a row for each head, a column for each circuit, a disc for its worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from typing import TYPE_CHECKING, final

from edgewise.figures.canvas import COLOURS, GRID, PLOT_FAINT, PLOT_INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Areas of discs in points²: of the head that is worth most, and of one that is worth next to nothing.
LARGEST_DISC, SMALLEST_DISC = 260.0, 14.0
WITHOUT_ROLE = "no measured role"


@final
@dataclass(frozen=True)
class HeadMapRow:
    """A head, its roles in words, its worth to each circuit that keeps it, and which drop it although a search needs it."""

    head: str
    role: str
    worth: Mapping[str, float]
    missed_by: tuple[str, ...]


@final
@dataclass(frozen=True)
class HeadMap:
    """Rows in groups of the same role; `columns`: circuit → its heading; `least`: what counts as worth something."""

    title: str
    columns: Mapping[str, str]
    least: float
    rows: tuple[HeadMapRow, ...]
    note: str = ""

    @property
    def size(self) -> tuple[float, float]:
        """The figure's size in inches."""
        groups = len({row.role for row in self.rows})
        return 3.9 + 1.15 * max(2, len(self.columns)), 1.9 + 0.27 * (len(self.rows) + 1.3 * groups)


def draw_heads(figure: Figure, shown: HeadMap) -> None:
    """Discs with areas that grow with the worth; a cross where scores of single edges drop a head that a search needs."""
    axes = figure.subplots()
    largest = max((abs(value) for row in shown.rows for value in row.worth.values()), default=0.0)
    places, y = [], 0.0
    for role, group in groupby(shown.rows, key=lambda row: row.role):
        axes.text(-0.62, y, role or WITHOUT_ROLE, fontweight="bold", fontsize=9, va="center", clip_on=False)
        y += 1.0
        for row in group:
            _draw_row(axes, row, y, shown, largest)
            places.append((y, row))
            y += 1.0
        y += 0.3
    _frame(axes, shown, places, y)
    _explain(figure, shown)


def _draw_row(axes: Axes, row: HeadMapRow, y: float, shown: HeadMap, largest: float) -> None:
    axes.axhline(y, color=GRID, linewidth=0.8, zorder=0)
    for x, name in enumerate(shown.columns):
        if name in row.missed_by:
            axes.scatter(x, y, s=60, marker="x", color=COLOURS[1], linewidths=1.8)
        elif name in row.worth:
            _draw_disc(axes, (x, y), row.worth[name], _area(row.worth[name], largest), shown.least)


def _draw_disc(axes: Axes, place: tuple[float, float], worth: float, area: float, least: float) -> None:
    colour = COLOURS[0] if worth >= least else "white"
    axes.scatter(*place, s=area, color=colour, edgecolors=COLOURS[0], linewidths=1.1)
    if abs(worth) >= least:
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axes.annotate(
            f"{worth:.2f}".replace("-", "−"),
            place,
            (13, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox=behind,
        )


def _area(worth: float, largest: float) -> float:
    """By the root, so that heads of a hundredth of the largest worth are still seen apart."""
    return SMALLEST_DISC + (LARGEST_DISC - SMALLEST_DISC) * sqrt(abs(worth) / largest) if largest > 0 else SMALLEST_DISC


def _frame(axes: Axes, shown: HeadMap, places: list[tuple[float, HeadMapRow]], height: float) -> None:
    axes.set_xlim(-0.65, len(shown.columns) - 0.3)
    axes.set_ylim(height, -0.8)
    axes.set_xticks(range(len(shown.columns)), list(shown.columns.values()))
    axes.xaxis.tick_top()
    axes.set_yticks([y for y, _ in places], [row.head for _, row in places])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    for label, (_, row) in zip(axes.get_yticklabels(), places, strict=True):
        label.set_color(COLOURS[1] if row.missed_by else PLOT_INK)


def _explain(figure: Figure, shown: HeadMap) -> None:
    missed = any(row.missed_by for row in shown.rows)
    lines = [
        "Disc: the circuit keeps the head. Number and area: nats of KL that losing it adds.",
        f"Hollow: less than {shown.least:.2g}, or losing it helps (−). No disc: dropped.",
        *(["Cross: scores of single edges drop it, although a searched circuit needs it."] if missed else []),
        *([shown.note] if shown.note else []),
    ]
    figure.suptitle(shown.title, x=0.01, ha="left", fontsize=10, fontweight="bold", wrap=True)
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color=PLOT_FAINT)
