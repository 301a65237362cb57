"""The page of a model of 30 layers: at its start it can be read, whatever the room, and it can be unfolded."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from support.browser import GPT2, SMALL, Opener, made_scores

from edgewise.circuit import Circuit
from edgewise.graph import Graph, layer_of
from edgewise.viewer import Finding

LARGE = Graph(30, 9, 3)
SCORES = made_scores(LARGE)
WITH_HEADS = (0, 5, 8, 9, 15, 16, 17, 18, 19, 20, 23, 24, 28, 29)
FOLDED = (1, 10, 25)
WIDTHS = {480: 900, 1280: 800, 2560: 1300}
# Nodes with their names: how tall the letters are on the screen, and how much of the name and of its box is seen.
NAMES = """() => {
  const room = edgewise.stage.element.getBoundingClientRect();
  return [...document.querySelectorAll(".node.kept")].map((node) => {
    const [text, box] = [node.querySelector("text"), node.querySelector(".box").getBoundingClientRect()];
    const name = text.getBoundingClientRect();
    return { name: text.textContent, size: Number(text.getAttribute("font-size")) * edgewise.view.scale,
      visible: getComputedStyle(text).visibility === "visible",
      inBox: name.left >= box.left && name.right <= box.right,
      inRoom: box.left >= room.left && box.right <= room.right && box.top >= room.top && box.bottom <= room.bottom };
  });
}"""
LAYERS = "() => [...document.querySelectorAll('.layer')].map((one) => one.textContent).filter((text) => text !== '⋮')"


def used_in_some_layers(scores: Any = SCORES) -> Circuit:
    """Heads in half of the layers, MLPs in nearly all, as in circuits of real models."""
    layers = [layer for layer in range(LARGE.layers) if layer not in FOLDED]

    def drawn(name: str) -> bool:
        place = layer_of(name)
        return not 0 <= place < LARGE.layers or place in (layers if name.startswith("m") else WITH_HEADS)

    edges = [edge for edge in LARGE.edges if all(drawn(end) for end in edge.split("->"))]
    edges.sort(key=lambda edge: -abs(scores[edge]))
    chain = [f"m{a}->m{b}" for a, b in pairwise(layers)]
    heads = [f"a{layer}.h{layer % 9}->logits" for layer in WITH_HEADS]
    return Circuit.from_edges(LARGE, [*edges[:230], *chain, *heads], dict(scores.provenance))


FINDING = Finding(used_in_some_layers(), SCORES)


@pytest.mark.parametrize("width", WIDTHS)
def test_thirty_layers_can_be_read_at_the_start(opening: Opener, width: int) -> None:
    with opening(FINDING, viewport={"width": width, "height": WIDTHS[width]}) as opened:
        names = opened.tab.evaluate(NAMES)
        assert {one["name"] for one in names} >= {"a29.h2", "a0.h0", "m14", "input", "logits"}
        assert all(one["size"] >= (8 if len(one["name"]) <= 6 else 7) for one in names)
        assert [one["name"] for one in names if not (one["visible"] and one["inBox"] and one["inRoom"])] == []
        assert opened.tab.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_layers_without_an_edge_are_folded_away_and_unfold(opening: Opener) -> None:
    with opening(FINDING) as opened:
        assert opened.tab.evaluate(LAYERS) == [f"L{layer}" for layer in range(30) if layer not in FOLDED]
        assert "3 of 30 layers are folded away" in opened.tab.locator(".filters").inner_text()
        assert opened.shown() == set(FINDING.shown.edges)
        opened.tab.get_by_label("draw").select_option("all")
        opened.settled()
        assert opened.tab.evaluate(LAYERS) == [f"L{layer}" for layer in range(30)]
        assert "folded away" not in opened.tab.locator(".filters").inner_text()
        opened.tab.reload()
        opened.settled()
        assert len(opened.tab.evaluate(LAYERS)) == 30


def test_what_is_folded_stays_while_the_slider_moves(opening: Opener) -> None:
    with opening(FINDING) as opened:
        before = opened.tab.evaluate("() => edgewise.layoutNumber")
        for n in (3, 40, 100):
            opened.state(n=n)
        assert opened.tab.evaluate("() => edgewise.layoutNumber") == before
        opened.state(columns="used", n=3)
        assert len(opened.tab.evaluate(LAYERS)) < 10


def test_heads_that_share_a_key_stay_together_and_rows_do_not_overlap(opening: Opener) -> None:
    with opening(FINDING) as opened:
        boxes = opened.tab.evaluate("() => edgewise.layout.boxes")
    placed = {name: box for name, box in zip((*LARGE.writers, "logits"), boxes, strict=True) if box}
    for name, box in placed.items():
        if name.startswith("a") and int(name.rpartition(".h")[2]) % 3 == 0:
            first, layer = int(name.rpartition(".h")[2]), name.partition(".")[0]
            group = [placed[f"{layer}.h{first + i}"]["x"] for i in range(3)]
            assert group[1] - group[0] == pytest.approx(group[2] - group[1])
            assert all(placed[f"{layer}.h{first + i}"]["y"] == box["y"] for i in range(3))
        for other, theirs in placed.items():
            apart = abs(box["x"] - theirs["x"]) >= (box["width"] + theirs["width"]) / 2
            assert other == name or apart or abs(box["y"] - theirs["y"]) >= (box["height"] + theirs["height"]) / 2


def test_a_large_circuit_opens_where_it_can_be_read_and_fits_when_asked(opening: Opener) -> None:
    with opening(Finding(SCORES.top(6000), SCORES)) as opened:
        names = opened.tab.evaluate(NAMES)
        assert min(one["size"] for one in names) >= 7
        assert next(one["inRoom"] for one in names if one["name"] == "logits")
        assert not next(one["inRoom"] for one in names if one["name"] == "input")
        opened.tab.get_by_role("button", name="fit the picture (0)").click()
        opened.settled()
        opened.tab.wait_for_timeout(400)
        assert all(one["inRoom"] for one in opened.tab.evaluate(NAMES))
        opened.tab.reload()
        opened.settled()
        assert all(one["inRoom"] for one in opened.tab.evaluate(NAMES))


@pytest.mark.parametrize("graph", [SMALL, GPT2])
def test_models_of_up_to_12_layers_open_as_a_whole(opening: Opener, graph: Graph) -> None:
    scores = made_scores(graph)
    with opening(Finding(scores.top(60), scores)) as opened:
        assert len(opened.tab.evaluate(LAYERS)) == graph.layers
        assert all(one["inRoom"] for one in opened.tab.evaluate(NAMES))
        assert opened.tab.evaluate("() => location.hash") == ""


def test_shared_keys_and_values_are_found_by_their_name(opening: Opener) -> None:
    with opening(FINDING) as opened:
        for text in ("a23.kv1", "a23.kv1<v>"):
            opened.tab.locator(".search").fill(text)
            opened.settled()
            found = opened.tab.evaluate("() => [...document.querySelectorAll('.match')].map((one) => one.dataset.node)")
            assert sorted(found) == ["a23.h3", "a23.h4", "a23.h5"]
