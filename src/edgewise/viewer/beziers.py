"""The curve of every edge: cubic Béziers that leave nodes upwards and enter them from below."""

from __future__ import annotations

from edgewise.graph import MLP, SEPARATE_INPUTS
from edgewise.viewer.layout import PORT_OFFSETS, Box, Layout, Position

Curve = tuple[Position, Position, Position, Position]
SPREAD, CORNER = 0.62, 6.0


def curve(layout: Layout, writer: str, reader: str) -> Curve:
    """Start, two control points and end of the edge `writer->reader`.

    Edges from MLPs and from the input bar that reaches under their column to MLPs and `logits` run as arcs beside it.
    """
    start, port = layout.boxes[writer], layout.ports[reader]
    is_input = writer in SEPARATE_INPUTS
    beside = MLP.fullmatch(writer) or (is_input and start.right > layout.boxes["logits"].right - CORNER)
    if beside and (reader == "logits" or MLP.fullmatch(reader)):
        return _arc(layout, start, layout.boxes[reader])
    if is_input:
        return _upwards(layout, Position(_towards(layout, start, port), start.top), port)
    if reader == "logits":
        target, leaving = layout.boxes[reader], Position(start.x, start.top)
        return _upwards(layout, leaving, Position(_towards(layout, target, leaving), target.bottom + 1))
    if MLP.fullmatch(reader):
        return _upwards(layout, Position(start.x, start.top), Position(port.x - 16, port.y))
    # Edges into q, k and v of one head leave a little apart, or they would lie on each other.
    apart = 0.7 * PORT_OFFSETS[reader[-2]]
    return _upwards(layout, Position(start.x + apart, start.top), port)


def _towards(layout: Layout, bar: Box, end: Position) -> float:
    """Where on a bar an edge starts or ends: part of the way to its other end, layers beside each other."""
    column = bar.x + SPREAD * (end.x - bar.x)
    wanted = column + (0.5 - end.y / layout.height) * 0.45 * layout.column
    return min(max(wanted, bar.x - bar.width / 2 + CORNER), bar.right - CORNER)


def _upwards(layout: Layout, start: Position, end: Position) -> Curve:
    rise = max(1.0, start.y - end.y)
    pull = min(1.1 * layout.row, max(0.45 * rise, 8.0))
    bow = _bow(layout, start, end, rise)
    return start, Position(start.x + bow, start.y - pull), Position(end.x + bow, end.y + pull), end


def _bow(layout: Layout, start: Position, end: Position, rise: float) -> float:
    """A sideways push for an edge that would run behind the nodes of its own column."""
    if rise < 1.6 * layout.row or abs(end.x - start.x) > 0.5 * layout.column:
        return 0.0
    outwards = 1 if start.x >= layout.width / 2 else -1
    return -outwards * 0.72 * layout.column


def _arc(layout: Layout, start: Box, end: Box) -> Curve:
    """An arc on the right of the MLP column, wider the more layers it spans."""
    spans = (start.y - end.y) / layout.row
    reach = min(34 + 11 * spans, (layout.width - start.right) / 0.75 - 12)
    lift = min(0.25 * (start.y - end.y), 0.5 * layout.row)
    a, d = Position(start.right, start.y - 3), Position(end.right + 1, end.y + 3)
    return a, Position(a.x + reach, a.y - lift), Position(d.x + reach, d.y + lift), d
