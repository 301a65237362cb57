"""Canvas: matplotlib without its global state. The same drawing gives the same bytes, as SVG and as PNG.

matplotlib is an optional dependency (`pip install "edgewise[viz]"`), imported when something is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edgewise.errors import InvalidValue, UnknownName

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGE_FORMATS = ("svg", "png")
PANELS_ABREAST = 3
PLOT_INK, PLOT_FAINT, GRID = "#20242a", "#6b7480", "#e3e6ea"
# Told apart by every kind of colour vision (Okabe and Ito 2008), the pale ones darkened; then the same, dashed.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0508a", "#b97f00", "#2f9fd8", "#7a5c2e", "#5a3fb0")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (6, 1.5, 1.4, 1.5)))
MARKERS = "osD^vPX<>"
PLOT_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "edgewise",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": PLOT_FAINT,
    "axes.labelcolor": PLOT_INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": PLOT_INK,
    "text.parse_math": False,
    "xtick.color": PLOT_FAINT,
    "ytick.color": PLOT_FAINT,
    "xtick.labelcolor": PLOT_INK,
    "ytick.labelcolor": PLOT_INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 160,
}

Draw = Callable[["Figure"], None]


def need_matplotlib() -> None:
    """InvalidValue, with the cure, if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise InvalidValue(
            'pictures need matplotlib, which is not installed: pip install "edgewise[viz]", or ask for none'
        )


def pictures(draw: Draw, size: tuple[float, float], formats: Iterable[str]) -> dict[str, bytes]:
    """What `draw` puts on a figure of `size` (inches), in every format asked for: suffix → bytes."""
    wanted = list(formats)
    for name in wanted:
        if name not in IMAGE_FORMATS:
            raise UnknownName.of("picture format", name, IMAGE_FORMATS)
    if not wanted:
        return {}
    need_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=size, facecolor="white")
        draw(figure)
        return {name: _bytes(figure, name) for name in wanted}


def axes_grid(figure: Figure, count: int, *, sharey: bool = False) -> list[Axes]:
    """`count` axes in rows of three."""
    across = min(PANELS_ABREAST, count)
    grid = figure.subplots(-(-count // across), across, squeeze=False, sharey=sharey).flatten().tolist()
    for unused in grid[count:]:
        unused.set_visible(False)
    return grid[:count]


def grid_size(count: int, width: float, height: float) -> tuple[float, float]:
    """The size in inches of a figure with such a grid, from that of one pair of axes."""
    across = min(PANELS_ABREAST, count)
    return across * width, -(-count // max(1, across)) * height


def _bytes(figure: Figure, name: str) -> bytes:
    # Without its date and version, the file depends on the drawing alone.
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[name]
    out = io.BytesIO()
    figure.savefig(out, format=name, metadata=metadata)
    return out.getvalue()
