"""A scene as SVG: no system packages, the same bytes for the same circuit, every name escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import assert_never

from edgewise.circuit import Circuit
from edgewise.scores import Scores
from edgewise.viewer.layout import Position
from edgewise.viewer.scene import scene
from edgewise.viewer.shapes import (
    ARROW,
    INK,
    MARK_OUTLINE,
    MARK_RADIUS,
    MARKS,
    PAPER,
    Corners,
    Dot,
    Label,
    Layer,
    Line,
    Mark,
    Panel,
    Scene,
    Shape,
)
from edgewise.viewer.style import HELPS, HURTS, PATTERNS, UNSCORED

FONT = "system-ui, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"


def svg(circuit: Circuit, scores: Scores | None = None) -> str:
    """The picture of a circuit as SVG text; with its scores, edges show sign and strength."""
    drawn = scene(circuit, scores)
    root = _root(drawn)
    for layer in drawn.layers:
        _write(layer, root)
    return ET.tostring(root, encoding="unicode") + "\n"


def number(value: float) -> str:
    """A coordinate with at most one decimal, the same on every machine.

    >>> number(3.0), number(2.25), number(-0.01)
    ('3', '2.2', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def path(points: tuple[Position, ...]) -> str:
    """A line or a curve as the `d` of an SVG path.

    >>> path((Position(0, 9), Position(0, 6), Position(4, 3.25), Position(4, 0)))
    'M0 9C0 6 4 3.2 4 0'
    """
    first, *others = (f"{number(p.x)} {number(p.y)}" for p in points)
    return f"M{first}{'C' if len(others) == 3 else 'L'}{' '.join(others)}"


def _root(drawn: Scene) -> ET.Element:
    w, h = number(drawn.width), number(drawn.height)
    root = ET.Element("svg", xmlns="http://www.w3.org/2000/svg", width=w, height=h, viewBox=f"0 0 {w} {h}", role="img")
    root.set("font-family", FONT)
    ET.SubElement(root, "title").text = drawn.title
    ET.SubElement(root, "desc").text = drawn.described
    defs = ET.SubElement(root, "defs")
    for colour in (HELPS, HURTS, UNSCORED, INK):
        size = {"markerUnits": "userSpaceOnUse", "markerWidth": "7", "markerHeight": "7"}
        place = {"id": f"end-{colour[1:]}", "refX": "6", "refY": "3.5", "orient": "auto"}
        marker = ET.SubElement(defs, "marker", {**place, **size})
        ET.SubElement(marker, "path", d=_corners(tuple((x + 6, y + 3.5) for x, y in ARROW)), fill=colour)
    ET.SubElement(root, "rect", width=w, height=h, fill=PAPER)
    return root


# -- shapes -----------------------------------------------------------------------------------------------------------


def _write(shape: Shape | Layer, parent: ET.Element) -> None:
    match shape:
        case Layer():
            _layer(shape, parent)
        case Label():
            _label(shape, parent)
        case Panel():
            _panel(shape, parent)
        case Dot():
            x, y = number(shape.at.x), number(shape.at.y)
            ET.SubElement(parent, "circle", cx=x, cy=y, r=number(shape.radius), fill=shape.fill)
        case Mark():
            _mark(shape, parent)
        case Line():
            _line(shape, parent)
        case _:
            assert_never(shape)


def _layer(layer: Layer, parent: ET.Element) -> None:
    group = ET.SubElement(parent, "g")
    if layer.at != Position(0, 0):
        group.set("transform", f"translate({number(layer.at.x)} {number(layer.at.y)})")
    if layer.name:
        group.set("data-node", layer.name)
        ET.SubElement(group, "title").text = layer.name
    for shape in layer.shapes:
        _write(shape, group)


def _label(label: Label, parent: ET.Element) -> None:
    element = ET.SubElement(parent, "text", x=number(label.at.x), y=number(label.at.y), fill=label.fill)
    element.set("font-size", number(label.size))
    if label.anchor:
        element.set("text-anchor", label.anchor)
    if label.weight:
        element.set("font-weight", label.weight)
    element.text = label.text


def _panel(panel: Panel, parent: ET.Element) -> None:
    box = panel.box
    place = {"x": number(box.x - box.width / 2), "y": number(box.top)}
    size = {"width": number(box.width), "height": number(box.height), "rx": number(panel.radius)}
    rect = ET.SubElement(parent, "rect", {**place, **size, "fill": panel.fill})
    if panel.stroke:
        rect.set("stroke", panel.stroke)


def _mark(mark: Mark, parent: ET.Element) -> None:
    look = {"fill": PAPER, "stroke": INK, "stroke-width": number(MARK_OUTLINE)}
    x, y = number(mark.at.x), number(mark.at.y)
    if mark.kind == "v":
        ET.SubElement(parent, "circle", {"cx": x, "cy": y, "r": number(MARK_RADIUS), **look})
    else:
        ET.SubElement(parent, "path", {"d": _corners(MARKS[mark.kind]), "transform": f"translate({x} {y})", **look})


def _line(line: Line, parent: ET.Element) -> None:
    element = ET.SubElement(parent, "path", d=path(line.points), fill="none", stroke=line.colour)
    element.set("stroke-width", f"{line.width:.2f}")
    # An arrow head is as transparent as its line: of the whole, or it would stand out from a thousand faint ones.
    element.set("opacity" if line.arrow else "stroke-opacity", f"{line.opacity:.2f}")
    if line.kind:
        element.set("stroke-dasharray", " ".join(f"{step:g}" for step in PATTERNS[line.kind]))
    if line.arrow:
        element.set("marker-end", f"url(#end-{line.colour[1:]})")
    if line.name:
        element.set("data-edge", line.name)
        ET.SubElement(element, "title").text = line.told
    if line.score is not None:
        element.set("data-score", f"{line.score:.6g}")


def _corners(points: Corners) -> str:
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points) + "Z"
