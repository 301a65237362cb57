"""A circuit as one SVG: no system packages, the same bytes for the same circuit, every name escaped."""

from __future__ import annotations

import textwrap
import xml.etree.ElementTree as ET

from edgewise.circuit import Circuit
from edgewise.scores import Scores
from edgewise.viewer.caption import clean, facts, title
from edgewise.viewer.curves import curve, svg_path
from edgewise.viewer.elements import BAND, FAINT, FILL, INK, PAPER, QUIET, draw_box, draw_port, draw_text, number
from edgewise.viewer.layout import MANY, Box, Layout, Point, arrange
from edgewise.viewer.legend import PANEL, legend
from edgewise.viewer.style import HELPS, HURTS, PATTERNS, UNSCORED, Stroke, strokes

TOP, LINE = 64.0, 16.0
FONT = "system-ui, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"


def svg(circuit: Circuit, scores: Scores | None = None) -> str:
    """The picture of a circuit as SVG text; with its scores, edges show sign and strength."""
    layout, lines = arrange(circuit), strokes(circuit, scores)
    width = layout.width + PANEL
    caption = _caption_lines(circuit, width)
    height = TOP + max(layout.height, 420.0) + 26 + LINE * len(caption) + 14
    root = _root(circuit, width, height)
    _heading(root, circuit)
    drawing = ET.SubElement(root, "g", transform=f"translate(0 {number(TOP)})")
    _bands(drawing, layout)
    _edges(drawing, layout, lines)
    _nodes(drawing, layout, circuit)
    _ports(drawing, layout, lines)
    if not lines:
        draw_text(drawing, Point(layout.width / 2, layout.height / 2), "no edges", size=20, fill=QUIET, anchor="middle")
    legend(ET.SubElement(root, "g", transform=f"translate({number(layout.width)} {number(TOP)})"), circuit, lines)
    _caption(root, caption, height)
    return ET.tostring(root, encoding="unicode") + "\n"


def _root(circuit: Circuit, width: float, height: float) -> ET.Element:
    w, h = number(width), number(height)
    root = ET.Element("svg", xmlns="http://www.w3.org/2000/svg", width=w, height=h, viewBox=f"0 0 {w} {h}", role="img")
    root.set("font-family", FONT)
    ET.SubElement(root, "title").text = title(circuit)
    ET.SubElement(root, "desc").text = clean(circuit.describe(), 300)
    defs = ET.SubElement(root, "defs")
    for colour in (HELPS, HURTS, UNSCORED, INK):
        size = {"markerUnits": "userSpaceOnUse", "markerWidth": "7", "markerHeight": "7"}
        place = {"id": f"end-{colour[1:]}", "refX": "6", "refY": "3.5", "orient": "auto"}
        marker = ET.SubElement(defs, "marker", {**place, **size})
        ET.SubElement(marker, "path", d="M0.5 0.5L7 3.5L0.5 6.5Z", fill=colour)
    ET.SubElement(root, "rect", width=w, height=h, fill=PAPER)
    return root


def _heading(root: ET.Element, circuit: Circuit) -> None:
    draw_text(root, Point(28, 32), title(circuit), size=17, weight="600")
    draw_text(root, Point(28, 51), clean(circuit.describe(), 160), size=12, fill=QUIET)


def _bands(parent: ET.Element, layout: Layout) -> None:
    group = ET.SubElement(parent, "g")
    for index, band in enumerate(layout.bands):
        if index % 2 == 0:
            draw_box(group, band, BAND, radius=6)
        draw_text(group, Point(band.x - band.width / 2 + 10, band.y + 4), f"L{band.name}", size=11, fill=QUIET)


def _edges(parent: ET.Element, layout: Layout, lines: list[Stroke]) -> None:
    group = ET.SubElement(parent, "g", fill="none")
    for line in lines:
        path = ET.SubElement(group, "path", d=svg_path(curve(layout, line.writer, line.reader)), stroke=line.colour)
        path.set("stroke-width", f"{line.width:.2f}")
        path.set("stroke-opacity", f"{line.opacity:.2f}")
        if line.kind:
            path.set("stroke-dasharray", PATTERNS[line.kind])
        else:
            path.set("marker-end", f"url(#end-{line.colour[1:]})")
        path.set("data-edge", line.edge)
        if line.score is not None:
            path.set("data-score", f"{line.score:.6g}")
        ET.SubElement(path, "title").text = line.describe()


def _nodes(parent: ET.Element, layout: Layout, circuit: Circuit) -> None:
    group = ET.SubElement(parent, "g")
    for bar in layout.bars:
        draw_box(group, bar, QUIET if bar.kept else FAINT, radius=2.5)
    for box in layout.boxes.values():
        if box.kept or box.name in (*circuit.graph.inputs, "logits"):
            _node(group, box)
        elif len(circuit.graph.writers) <= MANY:
            ET.SubElement(group, "circle", cx=number(box.x), cy=number(box.y), r="2.2", fill=FAINT)


def _node(parent: ET.Element, box: Box) -> None:
    group = ET.SubElement(parent, "g")
    group.set("data-node", box.name)
    ET.SubElement(group, "title").text = box.name
    head = box.name.startswith("a")
    stroke = INK if box.kept else FAINT
    draw_box(group, box, FILL["head"] if head else FILL["other"], radius=5 if head else 10, stroke=stroke)
    ink = INK if box.kept else QUIET
    draw_text(group, Point(box.x, box.y + 4), box.name, size=11, anchor="middle", fill=ink, weight="500")


def _ports(parent: ET.Element, layout: Layout, lines: list[Stroke]) -> None:
    group = ET.SubElement(parent, "g")
    for reader in sorted({line.reader for line in lines if line.kind}):
        draw_port(group, reader[-2], layout.ports[reader])


def _caption_lines(circuit: Circuit, width: float) -> list[str]:
    """The facts, several in a line where they fit; the heading already has the first, the number of edges."""
    room, lines = int((width - 56) / 6.1), [""]
    for label, value in facts(circuit)[1:]:
        first, *more = textwrap.wrap(f"{label}: {value}", room)
        joined = f"{lines[-1]}   ·   {first}" if lines[-1] else first
        lines = [*lines[:-1], joined] if len(joined) <= room else [*lines, first]
        lines += more
    return [line for line in lines if line]


def _caption(root: ET.Element, lines: list[str], height: float) -> None:
    for i, line in enumerate(lines):
        draw_text(root, Point(28, height - 14 - LINE * (len(lines) - 1 - i)), line, size=11, fill=QUIET)
