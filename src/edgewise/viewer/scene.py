"""A circuit as a scene: what is drawn and where, the same for every kind of picture."""

from __future__ import annotations

import textwrap

from edgewise.circuit import Circuit
from edgewise.display import clean
from edgewise.scores import Scores
from edgewise.viewer.beziers import curve
from edgewise.viewer.caption import facts, title
from edgewise.viewer.layout import MANY, Box, Layout, Position, arrange
from edgewise.viewer.legend import PANEL, legend
from edgewise.viewer.shapes import BAND, FAINT, FILL, INK, QUIET, Dot, Label, Layer, Line, Mark, Panel, Scene
from edgewise.viewer.style import Stroke, strokes

TOP, LINE, SIDE = 64.0, 16.0, 28.0
SHORTEST = 420.0
# Width of a letter by its height, as wide fonts have it: what is fitted with it fits.
LETTER, BOLD = 0.59, 0.66


def scene(circuit: Circuit, scores: Scores | None = None) -> Scene:
    """The picture of a circuit; with its scores, edges show sign and strength."""
    layout, lines = arrange(circuit), strokes(circuit, scores)
    width = layout.width + PANEL
    caption = _caption_lines(circuit, width)
    height = TOP + max(layout.height, SHORTEST) + 26 + LINE * len(caption) + 14
    empty = Position(layout.width / 2, layout.height / 2)
    drawing = (
        _bands(layout),
        Layer(tuple(_edge(layout, line) for line in lines)),
        _nodes(layout, circuit),
        Layer(tuple(Mark(name[-2], layout.ports[name]) for name in sorted({e.reader for e in lines if e.kind}))),
        *(() if lines else (Label(empty, "no edges", size=20, fill=QUIET, anchor="middle"),)),
    )
    return Scene(
        width,
        height,
        title(circuit),
        clean(circuit.describe(), 300),
        layers=(
            _heading(circuit, width),
            Layer(drawing, Position(0, TOP)),
            Layer(legend(circuit, lines), Position(layout.width, TOP)),
            _caption(caption, height),
        ),
    )


def _heading(circuit: Circuit, width: float) -> Layer:
    name = clean(title(circuit), int((width - 2 * SIDE) / (17 * BOLD)))
    size = clean(circuit.describe(), int((width - 2 * SIDE) / (12 * LETTER)))
    return Layer((Label(Position(SIDE, 32), name, size=17, weight="600"), Label(Position(SIDE, 51), size, fill=QUIET)))


def _bands(layout: Layout) -> Layer:
    shapes: list[Panel | Label] = []
    for index, band in enumerate(layout.bands):
        if index % 2 == 0:
            shapes.append(Panel(band, BAND, radius=6))
        shapes.append(Label(Position(band.x - band.width / 2 + 10, band.y + 4), f"L{band.name}", size=11, fill=QUIET))
    return Layer(tuple(shapes))


def _edge(layout: Layout, line: Stroke) -> Line:
    return Line(
        curve(layout, line.writer, line.reader),
        line.colour,
        line.width,
        line.opacity,
        kind=line.kind,
        arrow=not line.kind,
        name=line.edge,
        told=line.describe(),
        score=line.score,
    )


def _nodes(layout: Layout, circuit: Circuit) -> Layer:
    shapes: list[Panel | Dot | Layer] = [Panel(bar, QUIET if bar.kept else FAINT, radius=2.5) for bar in layout.bars]
    for box in layout.boxes.values():
        if box.kept or box.name in (*circuit.graph.inputs, "logits"):
            shapes.append(_node(box))
        elif len(circuit.graph.writers) <= MANY:
            shapes.append(Dot(Position(box.x, box.y), FAINT, radius=2.2))
    return Layer(tuple(shapes))


def _node(box: Box) -> Layer:
    head = box.name.startswith("a")
    outline, ink = (INK, INK) if box.kept else (FAINT, QUIET)
    panel = Panel(box, FILL["head"] if head else FILL["other"], radius=5 if head else 10, stroke=outline)
    label = Label(Position(box.x, box.y + 4), box.name, size=11, anchor="middle", fill=ink, weight="500")
    return Layer((panel, label), name=box.name)


def _caption_lines(circuit: Circuit, width: float) -> list[str]:
    """The facts, several in a line where they fit; the heading already has the first, the number of edges."""
    room, lines = int((width - 2 * SIDE) / (11 * LETTER)), [""]
    for label, value in facts(circuit)[1:]:
        first, *more = textwrap.wrap(f"{label}: {value}", room)
        joined = f"{lines[-1]} · {first}" if lines[-1] else first
        lines = [*lines[:-1], joined] if len(joined) <= room else [*lines, first]
        lines += more
    return [line for line in lines if line]


def _caption(lines: list[str], height: float) -> Layer:
    last = height - 14 - LINE * (len(lines) - 1)
    return Layer(tuple(Label(Position(SIDE, last + LINE * i), one, size=11, fill=QUIET) for i, one in enumerate(lines)))
