"""Curves of several methods in one picture: ROC, precision-recall, and what circuits keep as they grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from edgewise.figures.canvas import COLOURS, DASHES, MARKERS, PLOT_FAINT, PLOT_INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The smallest KL that is told from none on a logarithmic axis.
SMALLEST = 1e-4


@final
@dataclass(frozen=True)
class Line:
    """One method's curve. `marked`: its points are results of their own (circuits), not thresholds; `note` is its area."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    marked: bool = False
    note: str = ""


@final
@dataclass(frozen=True)
class Panel:
    """One pair of axes. `kind` says how they are drawn; `level` is a value worth a line of its own (chance, clean)."""

    title: str
    kind: Literal["roc", "precision", "share", "distance"]
    lines: tuple[Line, ...]
    level: float | None = None
    x: str = ""
    y: str = ""


def draw_panels(figure: Figure, panels: Sequence[Panel]) -> None:
    """The panels side by side; a method looks the same in all of them."""
    looks = styles([line.name for line in panels[0].lines])
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for line in panel.lines:
            _draw_line(axes, panel, line, looks[line.name])
        _FRAMES[panel.kind](axes, panel)
        axes.set_title(panel.title)
        axes.set_xlabel(panel.x)
        axes.set_ylabel(panel.y)
        if panel is panels[-1] or any(line.note for line in panel.lines):
            _legend(axes, panel)


def panels_size(panels: Sequence[Panel]) -> tuple[float, float]:
    """The size in inches of such a picture, with room for the longest name beside the axes."""
    longest = max(len(line.name) + len(line.note) for panel in panels for line in panel.lines)
    return len(panels) * (5.5 + 0.08 * longest), 4.8


def styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How each method is drawn: exact effects black, random grey and dotted, the others in colours, dashes and marks."""
    looks: dict[str, dict[str, Any]] = {}
    for name in names:
        number = len([name for name in looks if name not in ("exact", "random")])
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[(number // len(COLOURS)) % len(DASHES)]
        looks[name] = {"color": colour, "linestyle": dash, "marker": MARKERS[number % len(MARKERS)], "zorder": 3}
        if name == "exact":
            looks[name] = {"color": PLOT_INK, "linestyle": "-", "marker": "*", "zorder": 2.5}
        if name == "random":
            looks[name] = {"color": PLOT_FAINT, "linestyle": (0, (1.2, 1.6)), "marker": "x", "zorder": 2}
    return looks


def _draw_line(axes: Axes, panel: Panel, line: Line, look: dict[str, Any]) -> None:
    label = f"{line.name}  {line.note}" if line.note else line.name
    marked = look if line.marked else {**look, "marker": None}
    if panel.kind == "precision":
        # The precision at a recall holds for the stretch up to it, as average precision counts.
        axes.step(line.x, line.y, where="pre", label=label, **marked)
        return
    y = [max(value, SMALLEST) for value in line.y] if panel.kind == "distance" else line.y
    axes.plot(line.x, y, label=label, **marked)


def _legend(axes: Axes, panel: Panel) -> None:
    """Beside the axes, where it hides nothing; with areas the largest first."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: panel.lines[i].note, reverse=True)
    axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        handlelength=2.6,
    )


def _roc(axes: Axes, panel: Panel) -> None:
    axes.plot([0, 1], [0, 1], color=PLOT_FAINT, linewidth=0.8, zorder=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


def _precision(axes: Axes, panel: Panel) -> None:
    if panel.level is not None:
        axes.axhline(panel.level, color=PLOT_FAINT, linewidth=0.8, zorder=1)
        axes.annotate("chance", (1.0, panel.level), ha="right", va="bottom", fontsize=8, color=PLOT_FAINT)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05), aspect="equal")


def _share(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import PercentFormatter

    values = [y for line in panel.lines for y in line.y]
    axes.axhline(1.0, color=PLOT_FAINT, linewidth=0.8, zorder=1)
    axes.axhline(0.0, color=PLOT_FAINT, linewidth=0.8, zorder=1)
    axes.set_ylim(max(-0.5, min([*values, 0.0])) - 0.05, min(1.6, max([*values, 1.0])) + 0.08)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _sizes_axis(axes)


def _distance(axes: Axes, panel: Panel) -> None:
    axes.set_yscale("log")
    if panel.level is not None:
        axes.axhline(panel.level, color=PLOT_FAINT, linewidth=0.8, zorder=1)
    _sizes_axis(axes)


def _sizes_axis(axes: Axes) -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


_FRAMES = {"roc": _roc, "precision": _precision, "share": _share, "distance": _distance}
