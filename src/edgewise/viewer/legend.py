"""The panel beside the picture that says what its signs mean."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from edgewise.circuit import Circuit
from edgewise.viewer.elements import INK, QUIET, draw_port, draw_text, number
from edgewise.viewer.layout import Point
from edgewise.viewer.style import HELPS, HURTS, PATTERNS, UNSCORED, Stroke

PANEL = 236.0
X, LINE_END = 14.0, 62.0
ROW = 22.0
SHARES = (1.0, 0.25, 0.05)


@dataclass(frozen=True)
class Look:
    """How a sample line is drawn."""

    colour: str
    kind: str = ""
    width: float = 2.0
    opacity: float = 1.0
    arrow: bool = False


def legend(parent: ET.Element, circuit: Circuit, lines: list[Stroke]) -> None:
    """Sign, line pattern and end mark, width: each with a sample."""
    y = _sign(parent, 16, lines)
    y = _kinds(parent, y + 18, circuit)
    _widths(parent, y + 18, lines)


def _sign(parent: ET.Element, y: float, lines: list[Stroke]) -> float:
    if lines and lines[0].score is None:
        return _sample(parent, y, "no scores", Look(UNSCORED))
    draw_text(parent, Point(X, y), "Without the edge the metric", size=12, weight="600")
    y = _sample(parent, y + ROW, "drops: the edge helps", Look(HELPS))
    return _sample(parent, y, "rises: the edge hurts", Look(HURTS))


def _kinds(parent: ET.Element, y: float, circuit: Circuit) -> float:
    draw_text(parent, Point(X, y), "The edge goes into", size=12, weight="600")
    y += ROW
    for kind, name in (("q", "the query of a head"), ("k", "the key of a head"), ("v", "the value of a head")):
        draw_port(parent, kind, Point(LINE_END, y - 4))
        y = _sample(parent, y, name, Look(INK, kind))
    y = _sample(parent, y, "an MLP or the logits", Look(INK, arrow=True))
    if circuit.graph.kv_heads != circuit.graph.heads:
        draw_text(parent, Point(X, y), "heads over a bar share its k and v", size=11, fill=QUIET)
        y += ROW
    return y


def _widths(parent: ET.Element, y: float, lines: list[Stroke]) -> None:
    scored = [line for line in lines if line.score and math.isfinite(line.score)]
    if not scored:
        return
    draw_text(parent, Point(X, y), "Size of the score", size=12, weight="600")
    strongest = scored[-1]
    for place, share in enumerate(SHARES, 1):
        sample = Stroke("", "logits", 1.0, share**0.5, 1, strongest.crowd)
        text = f"{abs(strongest.score or 0.0) * share:.3g}{' (the largest)' if share == 1 else ''}"
        _sample(parent, y + ROW * place, text, Look(INK, width=sample.width, opacity=sample.opacity))


def _sample(parent: ET.Element, y: float, text: str, look: Look) -> float:
    """One line of the legend at height `y`; returns the height of the next."""
    ends = {"x1": number(X), "x2": number(LINE_END - 3), "y1": number(y - 4), "y2": number(y - 4)}
    line = ET.SubElement(parent, "line", {**ends, "stroke": look.colour})
    line.set("stroke-width", f"{look.width:.2f}")
    line.set("stroke-opacity", f"{look.opacity:.2f}")
    if look.kind:
        line.set("stroke-dasharray", PATTERNS[look.kind])
    if look.arrow:
        line.set("marker-end", f"url(#end-{look.colour[1:]})")
    draw_text(parent, Point(LINE_END + 12, y), text, size=12, fill=INK)
    return y + ROW
