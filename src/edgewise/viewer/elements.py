"""The few shapes a picture is made of, as SVG elements."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from edgewise.viewer.layout import Box, Point

INK, QUIET, FAINT, PAPER, BAND = "#1d2733", "#66727f", "#cbd0cc", "#fcfcfa", "#f2f3ef"
FILL = {"head": "#ffffff", "other": "#e6ecf3"}
MARKS = {"q": "M-4 3.4L0 -4L4 3.4Z", "k": "M0 -4.4L4.4 0L0 4.4L-4.4 0Z"}


def number(value: float) -> str:
    """A coordinate with at most one decimal, the same on every machine.

    >>> number(3.0), number(2.25), number(-0.01)
    ('3', '2.2', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def draw_text(
    parent: ET.Element,
    at: Point,
    text: str,
    *,
    size: float = 12,
    fill: str = INK,
    anchor: str = "",
    weight: str = "",
) -> None:
    """One line of text."""
    element = ET.SubElement(parent, "text", x=number(at.x), y=number(at.y), fill=fill)
    element.set("font-size", number(size))
    if anchor:
        element.set("text-anchor", anchor)
    if weight:
        element.set("font-weight", weight)
    element.text = text


def draw_box(parent: ET.Element, box: Box, fill: str, *, radius: float, stroke: str = "") -> None:
    """A rounded rectangle."""
    place = {"x": number(box.x - box.width / 2), "y": number(box.top)}
    size = {"width": number(box.width), "height": number(box.height), "rx": number(radius)}
    rect = ET.SubElement(parent, "rect", {**place, **size, "fill": fill})
    if stroke:
        rect.set("stroke", stroke)


def draw_port(parent: ET.Element, kind: str, at: Point) -> None:
    """The end mark of q (triangle), k (diamond) or v (circle)."""
    look = {"fill": PAPER, "stroke": INK, "stroke-width": "1.1"}
    if kind == "v":
        ET.SubElement(parent, "circle", {"cx": number(at.x), "cy": number(at.y), "r": "3.7", **look})
    else:
        move = f"translate({number(at.x)} {number(at.y)})"
        ET.SubElement(parent, "path", {"d": MARKS[kind], "transform": move, **look})
