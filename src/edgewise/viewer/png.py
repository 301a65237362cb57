"""A circuit as one PNG: no browser, the same bytes for the same circuit; matplotlib, an optional dependency, draws it."""

from __future__ import annotations

from importlib.util import find_spec

from edgewise.circuit import Circuit
from edgewise.errors import InvalidValue
from edgewise.scores import Scores
from edgewise.viewer.scene import scene

FACTOR = 2.0
# A picture of more pixels than these is drawn at a smaller factor.
MOST_PIXELS = 60_000_000


def png(circuit: Circuit, scores: Scores | None = None) -> bytes:
    """The picture of a circuit as PNG, two pixels for each of the SVG; with its scores, edges show sign and strength.

    Letters that the font does not have are drawn as U+FFFD. InvalidValue, with the cure, if matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise InvalidValue(
            "a PNG needs matplotlib, which is not installed: pip install 'edgewise[viz]', or ask for svg"
        )
    from edgewise.viewer.raster import raster

    drawn = scene(circuit, scores)
    return raster(drawn, min(FACTOR, (MOST_PIXELS / (drawn.width * drawn.height)) ** 0.5))
