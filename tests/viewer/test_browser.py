"""The page in a real browser: what people do with it, and that what they see is what Python says."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from support.browser import (
    GPT2,
    GROUPED,
    HOSTILE,
    PROMPTS,
    SMALL,
    Opener,
    circuit_of,
    made_attention,
    made_curve,
    made_scores,
    report_of,
)

from edgewise.circuit import Circuit
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.viewer import Finding, page

SCORES = made_scores(SMALL)
FINDING = Finding(circuit_of(SCORES, 60), SCORES, curves=(made_curve(SMALL),), report=report_of(0.7))


def reach(graph: Graph, edges: Iterable[str], start: str) -> set[str]:
    """The slow oracle of isolation: edges on a walk that ends or begins at a node, by networkx."""
    walks = nx.MultiDiGraph()
    named: dict[tuple[str, str, str], str] = {}
    walks.add_node(start)
    for edge in edges:
        w, r = graph.edge_index(edge)
        fed = [graph.writers[i] for i in graph.serves[r].nonzero().flatten().tolist()] or ["logits"]
        for target in fed:
            named[graph.writers[w], target, edge] = edge
            walks.add_edge(graph.writers[w], target)
    before, after = {start, *nx.ancestors(walks, start)}, {start, *nx.descendants(walks, start)}
    return {edge for (a, b, _), edge in named.items() if b in before or a in after}


# -- the slider -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absolute", [True, False])
def test_the_slider_cuts_as_top_does(opening: Opener, absolute: bool) -> None:
    with opening(Finding(scores=SCORES)) as opened:
        opened.tab.get_by_label("ranking").select_option("absolute" if absolute else "signed")
        for n in (0, 1, 17, 200, SMALL.n_edges):
            opened.tab.locator(".count").fill(str(n))
            opened.tab.locator(".count").press("Enter")
            opened.settled()
            assert opened.shown() == set(SCORES.top(n, absolute=absolute).edges)
            assert opened.status().startswith(f"{n} of 479 edges")


def test_dragging_and_arrow_keys_move_the_slider(opening: Opener) -> None:
    with opening(FINDING) as opened:
        slider = opened.tab.locator(".slider")
        box = slider.bounding_box()
        opened.tab.mouse.move(box["x"] + box["width"] - 9, box["y"] + box["height"] / 2)
        opened.tab.mouse.down()
        opened.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
        opened.tab.mouse.up()
        opened.settled()
        after = len(opened.shown())
        assert 0 < after < len(FINDING.shown)
        for key, change in (("ArrowRight", 1), ("ArrowUp", 1), ("ArrowLeft", -1), ("ArrowDown", -1)):
            slider.press(key)
            opened.settled()
            after += change
            assert len(opened.shown()) == after
        assert slider.get_attribute("aria-valuetext") == f"{after} of {len(FINDING.shown)} edges"


def test_the_curve_says_what_a_cut_costs(opening: Opener) -> None:
    with opening(FINDING) as opened:
        assert opened.tab.locator(".reading").inner_text() == "70% of logit_diff kept (random: 3.0%)"
        opened.state(n=4)
        assert "of logit_diff kept (random: " in opened.tab.locator(".reading").inner_text()
        opened.state(ranking="signed")
        assert "no faithfulness curve was measured for signed scores" in opened.tab.locator(".chart").inner_text()


def test_the_words_about_a_cut_do_not_move_the_picture(opening: Opener) -> None:
    scores = made_scores(GPT2)
    with opening(Finding(scores=scores, curves=(made_curve(GPT2),)), "n=0") as opened:
        room = opened.tab.locator(".stage").bounding_box()
        for n in (700, 25_000):
            opened.state(n=n)
            assert opened.tab.locator(".reading").inner_text().startswith("about ")
            assert opened.tab.locator(".stage").bounding_box() == room


# -- isolate, search, filter ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", ["a1.h3", "m2", "input", "logits"])
def test_a_click_isolates_what_leads_to_a_node_and_from_it(opening: Opener, node: str) -> None:
    with opening(FINDING) as opened:
        opened.tab.locator(f"[data-node='{node}']").click()
        opened.settled()
        assert opened.shown() == reach(SMALL, FINDING.shown.edges, node)
        assert node in opened.tab.locator(".details h3").inner_text()
        opened.tab.keyboard.press("Escape")
        opened.settled()
        assert opened.shown() == set(FINDING.shown.edges)


def test_isolation_follows_shared_keys_to_every_head_of_the_group(opening: Opener) -> None:
    circuit = Circuit.from_edges(GROUPED, ["input->a0.h1<k>", "a0.h2->m0", "a0.h3->m0", "a0.h0->m0", "m0->logits"])
    with opening(Finding(circuit), "focus=a0.h3") as opened:
        assert opened.shown() == {"input->a0.kv1<k>", "a0.h3->m0", "m0->logits"}
        opened.state(reach="on")
        assert opened.shown() == {"a0.h3->m0", "m0->logits"}
        opened.state(reach="back")
        assert opened.shown() == {"input->a0.kv1<k>"}


def test_an_edge_is_chosen_by_its_line(opening: Opener) -> None:
    circuit = Circuit.from_edges(
        SMALL, ["input->a0.h1<q>", "a0.h1->a2.h3<v>", "a2.h3->logits", "input->m1", "m1->logits"]
    )
    with opening(Finding(circuit)) as opened:
        x, y = opened.tab.evaluate(
            """() => { const { model, points, view } = edgewise; const room = edgewise.stage.element.getBoundingClientRect();
            const e = edgewise.edgeNamed("a0.h1->a2.h3<v>") * 8; const p = points;
            const at = (i) => (27 * p[e + i] + 27 * p[e + 2 + i] + 9 * p[e + 4 + i] + p[e + 6 + i]) / 64;
            return [room.left + view.x + at(0) * view.scale, room.top + view.y + at(1) * view.scale]; }"""
        )
        opened.tab.mouse.move(x, y)
        assert "a0.h1->a2.h3<v>" in opened.tab.locator(".tip").inner_text()
        opened.tab.mouse.click(x, y)
        opened.settled()
        assert opened.shown() == {"input->a0.h1<q>", "a0.h1->a2.h3<v>", "a2.h3->logits"}
        assert "the value of a2.h3" in opened.tab.locator(".details").inner_text()


@pytest.mark.parametrize("text", ["a1.h3", "L1H3", "1.3", "a1h3"])
def test_a_head_is_found_by_any_of_its_names(opening: Opener, text: str) -> None:
    with opening(FINDING) as opened:
        opened.tab.keyboard.press("/")
        opened.tab.keyboard.type(text)
        opened.settled()
        assert opened.tab.locator(".node.match").get_attribute("data-node") == "a1.h3"
        opened.tab.keyboard.press("Enter")
        opened.settled()
        assert opened.shown() == reach(SMALL, FINDING.shown.edges, "a1.h3")


def test_search_finds_layers_roles_and_nothing(opening: Opener) -> None:
    from dataclasses import replace

    with opening(replace(FINDING, roles={"name_mover": ("a3.h1", "a3.h2")})) as opened:
        box = opened.tab.locator(".search")
        for text, count in (("l2", 5), ("name mov", 2), ("m", 6), ("xyz", 0)):
            box.fill(text)
            opened.settled()
            assert opened.tab.locator(".node.match").count() == count, text
        assert "nothing found" in opened.tab.locator(".found").inner_text()


def test_filters_hide_by_input_sign_and_layer(opening: Opener) -> None:
    edges = FINDING.shown.edges
    with opening(FINDING) as opened:
        opened.tab.get_by_role("button", name="query", exact=True).click()
        opened.settled()
        assert opened.shown() == {edge for edge in edges if "<q>" not in edge}
        opened.tab.get_by_role("button", name="MLP, logits").click()
        opened.tab.get_by_role("button", name="hurts").click()
        opened.settled()
        assert opened.shown() == {e for e in edges if ("<k>" in e or "<v>" in e) and SCORES[e] >= 0}
        opened.tab.get_by_role("button", name="Show everything").click()
        opened.settled()
        assert opened.shown() == set(edges)
        opened.tab.get_by_label("highest layer").fill("1")
        opened.tab.get_by_label("highest layer").press("Enter")
        opened.settled()
        assert opened.shown() == {e for e in edges if not any(x in e for x in ("a2.", "a3.", "m2", "m3"))}


def test_only_edges_on_a_path(opening: Opener) -> None:
    with opening(Finding(scores=SCORES), "n=40") as opened:
        opened.tab.get_by_label("only edges on a path").check()
        opened.settled()
        assert opened.shown() == set(SCORES.top(40).without_dangling().edges)


# -- comparing --------------------------------------------------------------------------------------------------------


def test_two_circuits_over_each_other_and_beside_the_reference(opening: Opener) -> None:
    other = made_scores(SMALL, seed=1)
    a, b, known = FINDING.shown, circuit_of(other, 50), circuit_of(made_scores(SMALL, seed=2), 40)
    finding = Finding(a, SCORES, report=report_of(0.7), reference=known, other=Finding(b, other, report=report_of(0.4)))
    with opening(finding) as opened:
        told = opened.tab.locator("aside").inner_text()
        for count in (len(a - b), len(b - a), len(a & b), len(a & known), len(known - a), len(a - known)):
            assert f"\t{count}" in told
        assert f"Jaccard {a.jaccard(b):.3f}" in told
        assert f"Jaccard {a.jaccard(known):.3f}" in told
        assert "logit_diff\t70%\t40%" in told
        assert told.index("A: ") < told.index("B: ") < told.index("only in A")
        assert opened.tab.get_by_label("which edges").input_value() == "compare"
        assert opened.shown() == set((a | b).edges)
        assert "only in B" in opened.tab.locator(".legend").inner_text()
        opened.tab.get_by_label("which edges").select_option("reference")
        opened.settled()
        assert opened.shown() == set((a | known).edges)


# -- roles and notes --------------------------------------------------------------------------------------------------


def test_roles_by_hand_fold_to_one_node_and_unfold(opening: Opener) -> None:
    with opening(FINDING) as opened:
        for node in ("a1.h1", "a1.h3"):
            opened.tab.locator(f"[data-node='{node}']").click()
            opened.tab.get_by_label(f"role of {node}").fill("movers")
            opened.tab.keyboard.press("Enter")
            opened.settled()
        opened.state(focus=None)
        opened.tab.locator("summary", has_text="Roles").click()
        opened.tab.get_by_role("button", name="fold movers into one node").click()
        opened.settled()
        assert opened.tab.locator(".node.folded").count() == 1
        assert opened.tab.locator("[data-node='a1.h3']").count() == 0
        opened.tab.locator(".node.folded").click()
        opened.settled()
        assert opened.tab.locator("[data-node='a1.h3']").count() == 1


def test_the_address_keeps_everything(opening: Opener) -> None:
    with opening(FINDING) as opened:
        opened.state(n=30, ranking="signed", kinds="qvo", signs="+", theme="dark", reach="back", focus="m2")
        opened.tab.get_by_label("note on m2").fill("שלום <b>note</b> 🎉")
        opened.tab.locator("h1").click()
        opened.tab.mouse.move(400, 300)
        opened.tab.mouse.wheel(0, -300)
        opened.tab.wait_for_timeout(400)
        opened.settled()
        before = (opened.shown(), opened.tab.evaluate("() => JSON.stringify(edgewise.store.get())"))
        opened.tab.reload()
        opened.settled()
        after = (opened.shown(), opened.tab.evaluate("() => JSON.stringify(edgewise.store.get())"))
        assert after == before
        assert json.loads(after[1])["notes"] == {"m2": "שלום <b>note</b> 🎉"}
        assert json.loads(after[1])["view"] is not None


def test_a_broken_address_is_no_error(opening: Opener) -> None:
    state = (
        "n=-3&ranking=up&kinds=zz&view=[1]&roles=[1]&notes=no&folded={}&low=x&__proto__=1&scope=reference&focus=a99.h1"
    )
    with opening(FINDING, state) as opened:
        assert opened.status().startswith(f"{len(FINDING.shown)} of")


# -- keyboard and screen readers --------------------------------------------------------------------------------------


def test_everything_by_keyboard(opening: Opener) -> None:
    with opening(FINDING) as opened:
        keys = opened.tab.keyboard
        focused = "() => document.activeElement.dataset.node"
        for _ in range(12):
            keys.press("Tab")
            if opened.tab.evaluate(focused):
                break
        assert opened.tab.evaluate(focused) == "input"
        keys.press("ArrowUp")
        first = opened.tab.evaluate(focused)
        assert first not in ("input", None)
        assert re.search(r"\d+ edges? in, \d+ out", opened.tab.evaluate("() => document.activeElement.ariaLabel"))
        assert opened.tab.locator(".tip").is_visible()
        keys.press("Enter")
        opened.settled()
        assert opened.shown() == reach(SMALL, FINDING.shown.edges, first)
        keys.press("b")
        opened.settled()
        assert opened.tab.evaluate("() => edgewise.store.get().reach") == "back"
        keys.press("Escape")
        keys.press("[")
        opened.settled()
        assert len(opened.shown()) == len(FINDING.shown) - 1
        keys.press("d")
        keys.press("+")
        keys.press("t")
        opened.tab.wait_for_timeout(300)
        state = opened.tab.evaluate("() => edgewise.store.get()")
        assert (state["theme"], state["panel"]) == ("dark", "table")
        keys.press("?")
        assert opened.tab.locator("dialog").is_visible()
        keys.press("Escape")
        assert not opened.tab.locator("dialog").is_visible()


def test_the_table_has_the_same_edges(opening: Opener) -> None:
    with opening(Finding(scores=SCORES), "n=250&panel=table") as opened:
        rows = opened.tab.locator(".table tbody tr")
        names = rows.locator("th").all_inner_texts()
        opened.tab.get_by_role("button", name="Next").click()
        names += rows.locator("th").all_inner_texts()
        order = sorted(SCORES.graph.edges, key=lambda edge: -abs(SCORES[edge]))
        assert names == order[:250]
        opened.tab.get_by_role("button", name=names[-1], exact=True).click()
        opened.settled()
        assert names[-1] in opened.shown()


# -- out of it --------------------------------------------------------------------------------------------------------


def test_the_csv_has_the_edges_as_shown(opening: Opener) -> None:
    with opening(FINDING, "n=20") as opened:
        rows = list(csv.DictReader(io.StringIO(opened.exported("csv").decode())))
        assert [row["edge"] for row in rows] == sorted(FINDING.shown.edges, key=lambda e: -abs(SCORES[e]))[:20]
        assert all(float(row["score"]) == SCORES[row["edge"]] for row in rows)


def test_pictures_go_out(opening: Opener) -> None:
    import xml.etree.ElementTree as ET

    with opening(FINDING) as opened:
        root = ET.fromstring(opened.exported("svg").decode())
        drawn = {path.attrib["data-edge"] for path in root.iter() if "data-edge" in path.attrib}
        assert drawn == opened.shown()
        assert opened.exported("png").startswith(b"\x89PNG")
        assert opened.exported("dot").startswith(b"digraph circuit {")


# -- where heads attend -----------------------------------------------------------------------------------------------


def test_a_chosen_head_shows_where_it_attends(opening: Opener) -> None:
    def said(opened: Any) -> str:
        return str(opened.tab.locator(".attention .hint").inner_text())

    with opening(replace(FINDING, attention=made_attention()), "focus=a3.h1") as opened:
        words = opened.tab.locator(".attention .words button")
        assert words.all_inner_texts() == ["When", "Mary", "and", "John"]
        assert said(opened) == "From “John”: “and” 80%, “John” 20%, “When” 0.0%."
        words.nth(1).click()
        assert said(opened) == "From “Mary”: “When” 80%, “Mary” 20%."
        assert words.nth(1).get_attribute("aria-pressed") == "true"
        drawn = opened.tab.locator(".attention svg")
        box = drawn.bounding_box()
        drawn.click(position={"x": box["width"] / 2, "y": box["height"] * 0.6})
        assert said(opened).startswith("From “and”")
        opened.tab.get_by_label("prompt in which a3.h1 is shown").select_option("1")
        assert words.all_inner_texts() == ["So", "it", "⏎"]
        opened.state(focus="a3.h2")
        assert said(opened) == "From “⏎”: “So” 100%, “it” 0.0%, “⏎” 0.0%."
        opened.state(focus="a0.h0")
        assert "Not kept for this head." in opened.tab.locator(".details").inner_text()
        opened.state(focus="m2")
        assert "Attends to" not in opened.tab.locator(".details").inner_text()


# -- what is missing, and what is hostile -----------------------------------------------------------------------------


def test_the_page_says_what_it_does_not_have(opening: Opener) -> None:
    def missing(finding: Finding) -> str:
        with opening(finding) as opened:
            return f"{opened.tab.locator('.missing').inner_text()} | {opened.tab.locator('.stage').inner_text()}"

    bare = Circuit(SMALL, FINDING.shown.mask)
    empty = missing(Finding(Circuit.from_edges(SMALL, []), SCORES))
    assert "The circuit is empty" in empty
    assert "This circuit has no edges." in empty
    alone = missing(Finding(bare))
    for sentence in ("There are no scores", "There is no faithfulness curve", "There are no example prompts"):
        assert sentence in alone
    assert "no circuit" in missing(Finding(scores=SCORES))
    assert "No path leads" in missing(Finding(Circuit.from_edges(SMALL, ["input->m0"])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "edgewise/circuit"}, 'its data are "edgewise/circuit"'),
        ({"version": 2}, "its data are version 2"),
        ({}, "The data of this page are damaged"),
    ],
)
def test_a_document_of_another_schema_is_refused_in_words(
    opening: Opener, change: dict[str, Any], message: str
) -> None:
    text = page(FINDING)
    for key, value in change.items():
        old = {"schema": '"schema": "edgewise/page"', "version": '"version": 1'}[key]
        assert old in text
        text = text.replace(old, f'"{key}": {json.dumps(value)}', 1)
    if not change:
        text = text.replace('"schema"', '"schema', 1)
    with opening(text) as opened:
        assert message in opened.tab.locator(".failure").inner_text()


def test_hostile_text_stays_text(opening: Opener) -> None:
    prompts = [{name: [HOSTILE, *tokens] for name, tokens in PROMPTS[0].items()}]
    facts = dict.fromkeys(("model", "task", "method", "metric", "ablation"), HOSTILE)
    scores = Scores(
        SMALL, SCORES.values, {**facts, "prompts": prompts, "recipe": {"model": HOSTILE, "options": {"a": HOSTILE}}}
    )
    finding = Finding(
        circuit_of(scores, 60),
        scores,
        roles={HOSTILE: ("a1.h2",)},
        report={"metrics": {HOSTILE: {"clean": 1.0}}},
        label=HOSTILE,
    )
    with opening(finding) as opened:
        opened.state(notes={"m2": HOSTILE, HOSTILE: "x"}, focus="m2", roles={HOSTILE + "2": ["m2"]}, query=HOSTILE)
        opened.state(folded=[HOSTILE.replace("_", " ")], focus=None)
        opened.tab.locator("[data-node='m2']").first.hover()
        assert opened.tab.evaluate("() => window.hacked") is None
        assert opened.tab.locator("img").count() == 0
        assert '</script><img src=x onerror="window.hacked=1">' in opened.tab.locator("h1").inner_text()
        assert "</script><img" in opened.tab.locator("aside").inner_text()
        room = opened.tab.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert room[0] <= room[1]
        opened.exported("graphml")
        opened.exported("svg")


def test_the_address_cannot_bring_anything_to_life(opening: Opener) -> None:
    from urllib.parse import urlencode

    attack = "<img src=x onerror=window.hacked=1>"
    state = urlencode(
        {"query": attack, "focus": attack, "notes": json.dumps({"m2": attack}), "roles": json.dumps({attack: ["m2"]})}
    )
    with opening(FINDING, state) as opened:
        assert opened.tab.evaluate("() => window.hacked") is None
        assert opened.tab.locator("img").count() == 0


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_two_thousand_edges_and_a_full_score_set(opening: Opener) -> None:
    scores = made_scores(GPT2)
    with opening(Finding(scores.top(2000), scores, curves=(made_curve(GPT2),))) as opened:
        assert opened.shown() == set(scores.top(2000).edges)
        opened.tab.get_by_label("which edges").select_option("scores")
        opened.state(n=GPT2.n_edges)
        assert len(opened.shown()) == 32_491
        opened.state(n=900)
        assert opened.shown() == set(scores.top(900).edges)


def test_screenshots_of_the_main_views(opening: Opener, tmp_path_factory: pytest.TempPathFactory) -> None:
    """For people to look at: in the folder that EDGEWISE_SCREENSHOTS names, light and dark. Here: something is drawn."""
    asked = os.environ.get("EDGEWISE_SCREENSHOTS")
    folder = Path(asked or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    for name, (finding, state) in views().items():
        for scheme in ("light", "dark") if name in ("few", "compared") or asked else ("light",):
            with opening(finding, state, color_scheme=scheme) as opened:
                image = opened.tab.screenshot(path=folder / f"{name}-{scheme}.png")
                dark = opened.tab.evaluate("() => getComputedStyle(edgewise.root).backgroundColor")
                assert (dark == "rgb(20, 24, 29)") == (scheme == "dark")
            assert len(image) > 20_000, f"{name} is as good as empty"


def views() -> dict[str, tuple[Finding, str]]:
    """What to look at: few edges and all of a model's, chosen, filtered, compared, as a table."""
    scores, other = made_scores(GPT2), made_scores(GPT2, seed=1)
    a, b = circuit_of(scores, 2000), circuit_of(other, 1500)
    compared = Finding(a, scores, exact=scores, reference=circuit_of(scores, 900), other=Finding(b, other))
    return {
        "few": (FINDING, ""),
        "chosen": (FINDING, "focus=m2&reach=back"),
        "close": (FINDING, "n=20&columns=used"),
        "table": (FINDING, "panel=table"),
        "many": (Finding(a, scores, curves=(made_curve(GPT2),)), ""),
        "all": (Finding(scores=scores, curves=(made_curve(GPT2),)), f"n={GPT2.n_edges}"),
        "compared": (compared, "scope=compare&n=300"),
        "reference": (compared, "scope=reference&n=300"),
    }


@pytest.mark.slow
def test_load_time_and_frame_rate_are_measured(opening: Opener, record_property: Any) -> None:
    """Measured and recorded, never judged: a busy machine is no failure. Printed with -s."""
    scores = made_scores(GPT2)
    for name, n in (("2,000 edges", 2000), ("all edges", GPT2.n_edges)):
        with opening(Finding(scores=scores, curves=(made_curve(GPT2),)), f"n={n}") as opened:
            load, drag = opened.tab.evaluate(LOAD), opened.tab.evaluate(DRAG)
            record_property(name, {"load": load, **drag})
            print(f"\n{name}: loaded and drawn after {load:.0f} ms; slider {drag}")
            assert drag["frames"] == 90


LOAD = "() => performance.getEntriesByName('edgewise-drawn')[0].startTime"
DRAG = """async () => {
  const times = [];
  const slider = document.querySelector(".slider");
  let last = performance.now();
  for (let i = 0; i < 90; i += 1) {
    slider.value = 3000 + 7000 * Math.abs(Math.sin(i / 15));
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - last);
    last = performance.now();
  }
  const sorted = [...times].sort((a, b) => a - b);
  const sum = times.reduce((a, b) => a + b, 0);
  return { frames: times.length, per_second: Math.round(1000 * times.length / sum), median_ms: Math.round(sorted[45]) };
}"""
