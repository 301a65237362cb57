"""The page's modules as the plain ES modules they are, imported one by one in a browser, and the widget."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.browser import GPT2, SMALL, circuit_of, made_curve, made_scores

from edgewise.store.schema import dump
from edgewise.viewer import Finding
from edgewise.viewer.bundle import FOLDER, web_file
from edgewise.viewer.contents import document

ORIGIN = "http://edgewise.test"
SCORES = made_scores(SMALL)
FINDING = Finding(circuit_of(SCORES, 60), SCORES, curves=(made_curve(SMALL),))


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A blank page whose origin serves the modules from the package and nothing else."""
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))

    def answer(route: Any) -> None:
        name = route.request.url.removeprefix(f"{ORIGIN}/")
        if name.endswith(".js"):
            route.fulfill(body=web_file(name), content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html><title>test</title>", content_type="text/html")

    tab.route("**/*", answer)
    tab.goto(f"{ORIGIN}/")
    yield tab
    context.close()
    assert complaints == []


def run(tab: Any, body: str, *modules: str, given: Any = None) -> Any:
    """The value of a function body in which the exports of the modules are at hand, and `given`."""
    imports = "".join(f"const {name} = await import('/{name}.js');" for name in modules)
    return tab.evaluate(f"async (given) => {{ {imports} {body} }}", given)


def test_every_module_can_be_imported_by_itself(tab: Any) -> None:
    names = sorted(file.name for file in FOLDER.iterdir() if file.name.endswith(".js") and file.name != "start.js")
    assert len(names) > 15
    assert run(tab, "for (const name of given) await import('/' + name); return given.length;", given=names) == len(
        names
    )


def test_what_a_density_is_given_can_be_taken_out_again(tab: Any) -> None:
    body = """
    const points = Float32Array.from({ length: 80 }, (_, i) => 10 + ((i * 37) % 80));
    const view = { x: -5, y: 3, scale: 1.5 };
    const one = density.createDensity(100, 90, 2);
    for (let e = 0; e < 10; e += 1) density.addCurve(one, e % 2, points, e * 8, view, 1 + e);
    const full = one.layers.map((layer) => layer.reduce((a, b) => a + b, 0));
    for (let e = 9; e >= 0; e -= 1) density.addCurve(one, e % 2, points, e * 8, view, -1 - e);
    const left = one.layers.map((layer) => layer.some((weight) => weight !== 0));
    const pixels = new Uint8ClampedArray(4 * 100 * 90);
    one.layers[0][7] = 5;
    density.develop(one, [[10, 20, 30], [200, 0, 0]], 0.5, pixels);
    return { full, left, pixel: [...pixels.slice(28, 32)], other: Math.max(...pixels.slice(32)) };
    """
    found = run(tab, body, "density")
    assert all(weight > 100 for weight in found["full"])
    assert found["left"] == [False, False]
    # Opacity 235 (1 - e^(-0.5 · 5)) = 215.7; the colour is that of the only layer with weight.
    assert found["pixel"] == [10, 20, 30, 216]
    assert found["other"] == 0


def test_the_scale_of_the_slider_goes_there_and_back(tab: Any) -> None:
    body = "return given.map((n) => chart.amount(chart.position(n, 32491), 32491));"
    sizes = [0, 1, 2, 10, 500, 32_490, 32_491]
    assert run(tab, body, "chart", given=sizes) == sizes


def test_readings_between_measured_points(tab: Any) -> None:
    points = [[0, 0.0, 0.0], [10, 0.5, 0.1], [100, 0.9, None]]
    body = "return given.ns.map((n) => chart.reading(given.points, n));"
    at_10, between, above, beyond = run(tab, body, "chart", given={"points": points, "ns": [10, 3, 50, 101]})
    assert at_10 == {"value": 0.5, "random": 0.1, "measured": True}
    # log(1 + n): log 4 / log 11 of the way from 0 to 10.
    assert between["value"] == pytest.approx(0.5 * 0.578129, abs=1e-5)
    assert between["measured"] is False
    assert above["random"] is None
    assert beyond is None


@pytest.mark.parametrize("size", [(400, 300), (1040, 620), (2400, 1300)])
def test_nothing_overlaps_and_layers_go_up(tab: Any, size: tuple[int, int]) -> None:
    text = dump(document(Finding(scores=made_scores(GPT2))), indent=None)
    body = """
    const model = data.openModel(data.parseDocument(given.text));
    const found = layout.arrange(model, { width: given.size[0], height: given.size[1] });
    const points = curves.curves(model, found);
    const boxes = model.nodes.map((node, i) => ({ ...found.boxes[i], name: node.name }));
    const down = points.filter((y, i) => i % 8 === 7 && y > points[i - 6]).length;
    return { boxes, width: found.width, height: found.height, undrawn: points.filter(Number.isNaN).length, down };
    """
    found = run(tab, body, "data", "layout", "curves", given={"text": text, "size": size})
    boxes = found["boxes"]
    assert len(boxes) == len(GPT2.writers) + 1
    assert (found["undrawn"], found["down"]) == (0, 0)
    for i, a in enumerate(boxes):
        assert a["x"] - a["width"] / 2 >= 0
        assert a["x"] + a["width"] / 2 <= found["width"]
        assert 0 <= a["y"] - a["height"] / 2 < a["y"] + a["height"] / 2 <= found["height"]
        for b in boxes[:i]:
            assert (
                abs(a["x"] - b["x"]) >= (a["width"] + b["width"]) / 2
                or abs(a["y"] - b["y"]) >= (a["height"] + b["height"]) / 2
            )
    by_name = {box["name"]: box for box in boxes}
    assert (
        by_name["input"]["y"]
        > by_name["a0.h0"]["y"]
        > by_name["m0"]["y"]
        > by_name["a1.h0"]["y"]
        > by_name["logits"]["y"]
    )
    assert by_name["a0.h5"]["x"] == by_name["a11.h5"]["x"]


def test_a_state_goes_into_the_address_and_comes_back(tab: Any) -> None:
    text = dump(document(FINDING), indent=None)
    body = """
    const start = state.initialState(data.openModel(data.parseDocument(given.text)));
    const changed = { ...start, ...given.changes };
    return [state.toHash(start, start), state.fromHash("#" + state.toHash(changed, start), start), changed];
    """
    changes = {
        "n": 3,
        "query": "a&b=c #?%",
        "notes": {"m1": "é\n\"'"},
        "view": [1.5, -2, 0.5],
        "signs": "",
        "folded": ["x"],
    }
    empty, back, wanted = run(tab, body, "state", "data", given={"text": text, "changes": changes})
    assert empty == ""
    assert back == wanted


def test_the_widget_shows_the_page_and_keeps_its_state(tab: Any) -> None:
    pytest.importorskip("anywidget")
    import edgewise as ew

    made = ew.widget(FINDING, height=600)
    esm = str(made._esm)
    tab.evaluate(
        """async ([esm, css, text]) => {
        document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
        const values = { document: text, state: "n=7", height: 600 };
        const listeners = {};
        window.model = { values, saved: 0, get: (key) => values[key], save_changes: () => (window.model.saved += 1),
          set: (key, value) => { values[key] = value; }, on: (name, call) => { listeners[name] = call; }, listeners };
        const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
        module.default.render({ model: window.model, el: document.body });
        }""",
        [esm, web_file("page.css"), made.document],
    )
    assert tab.locator(".status").inner_text().startswith("7 of 479 edges")
    assert json.loads(made.document)["schema"] == "edgewise/page"
    tab.locator(".count").fill("9")
    tab.locator(".count").press("Enter")
    tab.wait_for_timeout(500)
    assert tab.evaluate("() => [model.values.state, model.saved]") == ["n=9", 1]
    tab.evaluate("() => { model.values.state = 'n=4'; model.listeners['change:state'](); }")
    tab.wait_for_timeout(300)
    assert tab.locator(".status").inner_text().startswith("4 of 479 edges")
    assert tab.evaluate("() => location.hash") == ""
    # JupyterLab would cut the cell at an "x": keys are the widget's own, and still do what they do there.
    tab.evaluate("() => document.addEventListener('keydown', (event) => { model.heard = event.key; })")
    tab.locator("[data-node='m2']").first.focus()
    tab.keyboard.press("x")
    tab.keyboard.press("t")
    tab.wait_for_timeout(300)
    assert tab.evaluate("() => model.heard") is None
    assert "panel=table" in tab.evaluate("() => model.values.state")
    assert tab.locator("[data-lm-suppress-shortcuts=true] .page").count() == 1


def test_two_inputs_share_the_bar(tab: Any) -> None:
    """Token and position embeddings can be writers of their own: whatever is no head, MLP or logits is an input."""
    content = json.loads(dump(document(Finding(SCORES.top(30), SCORES)), indent=None))
    content["nodes"].insert(1, {"name": "positions", "kind": "input", "layer": -1, "head": -1})
    body = """
    const model = data.openModel(given);
    const found = layout.arrange(model, { width: 900, height: 600 });
    const points = curves.curves(model, found);
    return [model.inputs.map((i) => found.boxes[i]), found.width, points.some(Number.isNaN)];
    """
    for reader in content["readers"]:
        reader["nodes"] = [i + 1 for i in reader["nodes"]]
    (tokens, positions), width, undrawn = run(tab, body, "data", "layout", "curves", given=content)
    assert tokens["x"] + tokens["width"] / 2 < positions["x"] - positions["width"] / 2
    assert positions["x"] + positions["width"] / 2 <= width
    assert tokens["y"] == positions["y"]
    assert not undrawn
