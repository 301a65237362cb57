"""The PNG: the picture of the SVG in pixels, deterministic, with nothing of matplotlib's state in it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor
from support.browser import GPT2, GROUPED, HOSTILE, SMALL, made_scores
from support.strategies import circuits

import edgewise as ew
from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.viewer import png, svg
from edgewise.viewer.beziers import curve
from edgewise.viewer.layout import Position, arrange
from edgewise.viewer.scene import TOP, scene
from edgewise.viewer.shapes import BAND, PAPER
from edgewise.viewer.style import HELPS, HURTS, UNSCORED, Stroke, strokes

GRAPH = Graph(2, 2, 2)
SCORES = made_scores(SMALL)
CIRCUIT = SCORES.top(40)
NEAR = 6  # levels of a channel by which rounding and the edge of a line may move a colour


def image(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def scored(edge: str, score: float) -> Scores:
    values = torch.zeros(GRAPH.edge_mask.shape)
    writer, reader = edge.split("->")
    values[GRAPH.writer_index[writer], GRAPH.reader_index[reader]] = score
    return Scores(GRAPH, values)


def along(circuit: Circuit, line: Stroke) -> list[Position]:
    """Places on an edge's curve, in pixels of the PNG."""
    a, b, c, d = curve(arrange(circuit), line.writer, line.reader)

    def at(t: float) -> Position:
        weights = ((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t**3)
        x = sum(weight * point.x for weight, point in zip(weights, (a, b, c, d), strict=True))
        y = sum(weight * point.y for weight, point in zip(weights, (a, b, c, d), strict=True))
        return Position(2 * x, 2 * (y + TOP))

    return [at(0.1 + 0.8 * i / 200) for i in range(201)]


def colours(data: bytes, places: list[Position]) -> np.ndarray:
    pixels = image(data)
    return np.stack([pixels[int(place.y), int(place.x)] for place in places])


def shares(found: np.ndarray, colour: str, opacity: float) -> float:
    """How many of the colours are `colour` as it looks on the paper or on a band."""
    seen = np.zeros(len(found), bool)
    for ground in (PAPER, BAND):
        ink, paper = (np.array(ImageColor.getrgb(one)) for one in (colour, ground))
        seen |= (abs(found - (opacity * ink + (1 - opacity) * paper)) <= NEAR).all(axis=1)
    return float(seen.mean())


# -- the same picture as the SVG --------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [SMALL, GROUPED], ids=["plain", "grouped"])
def test_a_png_is_twice_as_large_as_the_svg(graph: Graph) -> None:
    circuit = made_scores(graph).top(30)
    data, root = png(circuit), ET.fromstring(svg(circuit))
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    size = [round(2 * float(root.attrib[side])) for side in ("width", "height")]
    assert Image.open(io.BytesIO(data)).size == pytest.approx(tuple(size), abs=1)


@pytest.mark.parametrize(
    ("edge", "score", "colour"),
    [
        ("a0.h0->logits", 0.5, HELPS),
        ("a0.h0->logits", -0.5, HURTS),
        ("m0->logits", -0.5, HURTS),
        ("input->a1.h1<q>", 0.5, HELPS),
        ("input->a1.h1<v>", -0.5, HURTS),
        ("input->m0", None, UNSCORED),
    ],
)
def test_an_edge_has_its_colour_where_its_curve_is(edge: str, score: float | None, colour: str) -> None:
    circuit = Circuit.from_edges(GRAPH, [edge])
    scores = None if score is None else scored(edge, score)
    line = strokes(circuit, scores)[0]
    places = along(circuit, line)
    on = shares(colours(png(circuit, scores), places), colour, line.opacity)
    # Nodes that are not in the circuit are dots, which may lie on the line; gaps are part of the pattern.
    assert on > 0.95 if not line.kind else 0.4 < on < 0.95
    assert shares(colours(png(Circuit.from_edges(GRAPH, [])), places), colour, line.opacity) == 0


def test_patterns_differ_for_q_k_and_v() -> None:
    shown = {}
    for kind in "qkv":
        circuit = Circuit.from_edges(GRAPH, [f"input->a1.h1<{kind}>"])
        line = strokes(circuit, None)[0]
        shown[kind] = shares(colours(png(circuit), along(circuit, line)), UNSCORED, line.opacity)
    assert shown["k"] < shown["q"] < 0.85  # on for 1.6 of 4.8 and 7 of 10
    assert abs(shown["v"] - 10.6 / 16.6) < 0.15


def test_weak_edges_of_many_are_a_haze_behind_the_strong() -> None:
    scores = made_scores(GPT2)
    lines = strokes(scores.top(2000), scores)
    haze, clear = lines[:-700], lines[-700:]
    assert max(line.opacity for line in haze) < min(line.opacity for line in clear)
    assert [line.rank for line in lines] == list(range(2000, 0, -1))
    pixels = image(png(scores.top(2000), scores))
    strongest = clear[-1]
    places = along(scores.top(2000), strongest)
    found = np.stack([pixels[int(place.y), int(place.x)] for place in places])
    assert shares(found, strongest.colour, strongest.opacity) > 0.5
    assert all(line.opacity > 0.1 for line in strokes(scores.top(2000), None))  # nobody knows which are weak


def test_the_picture_is_the_svg_as_a_browser_draws_it(browser: Any, tmp_path: Path) -> None:
    def drawn(circuit: Circuit) -> np.ndarray:
        root = ET.fromstring(svg(circuit, SCORES))
        size = {side: int(float(root.attrib[side])) for side in ("width", "height")}
        tab = browser.new_page(viewport=size, device_scale_factor=2)
        (tmp_path / "a.svg").write_text(svg(circuit, SCORES))
        tab.goto(f"file://{tmp_path / 'a.svg'}")
        found = image(tab.screenshot())[..., :3]
        tab.close()
        return found

    def differ(one: np.ndarray, other: np.ndarray) -> float:
        # Within the drawing, without heading, legend and caption: fonts are the machine's.
        (height, width), room = one.shape[:2], arrange(CIRCUIT)
        parts = [found[130 : int(2 * (TOP + room.height)), : int(2 * room.width)] for found in (one, other)]
        assert height > 0 < width
        return float(abs(parts[0] - parts[1]).mean())

    mine = image(png(CIRCUIT, SCORES))
    same, another = differ(mine, drawn(CIRCUIT)), differ(mine, drawn(CIRCUIT - SCORES.top(3)))
    assert same < 1.2
    assert same < another / 2


# -- deterministic, harmless, without state ---------------------------------------------------------------------------


@given(circuits())
@settings(max_examples=4, deadline=None)
def test_the_same_circuit_gives_the_same_bytes(circuit: Circuit) -> None:
    assert png(circuit) == png(Circuit(circuit.graph, circuit.mask))


def test_hostile_text_stays_text() -> None:
    facts = {"task": HOSTILE, "model": "$x^2$ \\frac{1}{0} \u4e2d\u6587", "method": HOSTILE, "options": {"a": HOSTILE}}
    circuit = CIRCUIT.with_provenance(**facts)
    data = png(circuit, SCORES)
    assert Image.open(io.BytesIO(data)).size[0] == Image.open(io.BytesIO(png(CIRCUIT, SCORES))).size[0]
    assert b"<img" not in data


@given(st.text())
@settings(max_examples=10, deadline=None)
def test_any_name_is_drawn(name: str) -> None:
    assert png(Circuit.full(Graph(1, 1, 1)).with_provenance(task=name, model=name)).startswith(b"\x89PNG")


def test_names_as_long_as_any_do_not_leave_the_picture() -> None:
    circuit = Circuit.full(Graph(1, 1, 1)).with_provenance(
        task="a longer name than there is room for " * 9, model="m" * 400
    )
    assert (image(png(circuit))[:, -8:] == ImageColor.getrgb(PAPER)).all()


def test_a_picture_of_too_many_pixels_is_drawn_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("edgewise.viewer.png"), "MOST_PIXELS", 200_000)
    width, height = Image.open(io.BytesIO(png(CIRCUIT, SCORES))).size
    assert width * height == pytest.approx(200_000, rel=0.01)


def test_empty_circuits_and_infinite_scores_are_drawn() -> None:
    values = SCORES.values.clone()
    values[0, 0], values[0, 1] = torch.inf, -torch.inf
    assert png(Circuit.from_edges(SMALL, []), SCORES) != png(CIRCUIT, SCORES)
    assert png(CIRCUIT, Scores(SMALL, values)) != png(CIRCUIT, SCORES)


def test_scores_of_another_graph_are_refused() -> None:
    with pytest.raises(GraphMismatch):
        png(Circuit.full(Graph(1, 1, 1)), SCORES)


STATE = """
import json, sys
import matplotlib
def settings():
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
before = settings()
import edgewise as ew
from edgewise.viewer import png
png(ew.Circuit.full(ew.Graph(1, 1, 1)))
print(json.dumps({"same": before == settings(), "pyplot": "matplotlib.pyplot" in sys.modules}))
"""


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    found = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == {"same": True, "pyplot": False}


# -- files ------------------------------------------------------------------------------------------------------------


def test_show_writes_a_png(tmp_path: Path) -> None:
    path = ew.show(SCORES, tmp_path / "a.png")
    assert path.read_bytes() == png(SCORES.top(200), SCORES)


def test_without_matplotlib_one_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidValue, match=r"pip install 'edgewise\[viz\]', or ask for svg"):
        ew.show(CIRCUIT, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
    assert scene(CIRCUIT).layers
    assert ew.show(CIRCUIT, tmp_path / "a.svg").exists()
