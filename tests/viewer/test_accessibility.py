"""What accessibility checkers such as axe ask of a page, rule by rule, in each of its views and in both themes.

Names and roles are those the browser itself tells a screen reader.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.browser import SMALL, Opened, Opener, circuit_of, made_attention, made_curve, made_scores, report_of

from edgewise.viewer import Finding

SCORES = made_scores(SMALL)
LONG = {"clean": [" word"] * 100, "corrupted": [" other"] * 100, "correct": [" yes"], "wrong": [" no"]}
FINDING = Finding(
    circuit_of(made_scores(SMALL, prompts=[LONG], recipe={"model": "gpt2"}), 60),
    SCORES,
    exact=SCORES,
    curves=(made_curve(SMALL),),
    report=report_of(0.7),
    reference=circuit_of(made_scores(SMALL, seed=2), 40),
    attention=made_attention(),
    roles={"name_mover": ("a3.h1", "a3.h2"), "a role with a long name " * 9: ("m2",)},
)
COMPARED = replace(FINDING, other=Finding(circuit_of(made_scores(SMALL, seed=1), 50), report=report_of(0.4)))
VIEWS = {
    "at the start": (FINDING, ""),
    "a node": (FINDING, "focus=m2&query=a1"),
    "a head and where it attends": (FINDING, "focus=a3.h2"),
    "an edge": (FINDING, "focus=input->m0"),
    "the table": (FINDING, "panel=table&sort=-score"),
    "two circuits": (COMPARED, "scope=compare"),
    "scores alone": (Finding(scores=SCORES), "n=0"),
}
NAMED = (
    "button slider spinbutton combobox textbox searchbox checkbox listbox DisclosureTriangle dialog link img".split()
)


@pytest.fixture(params=VIEWS)
def opened(opening: Opener, request: Any) -> Any:
    finding, state = VIEWS[request.param]
    with opening(finding, state) as tab:
        for summary in tab.tab.locator("details:not([open]) > summary").all():
            summary.click()
        yield tab


def test_every_view_keeps_the_rules(opened: Opened) -> None:
    assert unnamed(opened) == []
    for theme in ("light", "dark"):
        opened.state(theme=theme)
        assert opened.tab.evaluate(FAINT) == []
    for rule, script in RULES.items():
        assert opened.tab.evaluate(script) == [], rule


def test_the_rules_find_what_breaks_them(opening: Opener) -> None:
    with opening(FINDING) as opened:
        opened.tab.evaluate(BREAK)
        assert unnamed(opened) == ["button"]
        assert "too faint" in opened.tab.evaluate(FAINT)
        assert [rule for rule, script in RULES.items() if opened.tab.evaluate(script) == []] == []


def test_the_help_keeps_them_too(opening: Opener) -> None:
    with opening(FINDING) as opened:
        opened.tab.keyboard.press("?")
        assert unnamed(opened) == []
        assert opened.tab.evaluate(FAINT) == []
        opened.tab.keyboard.press("Escape")


def test_focus_goes_through_the_page_as_it_is_read(opening: Opener) -> None:
    """From the heading to the picture, the slider and the panels, and to no place twice."""
    with opening(FINDING) as opened:
        seen: list[str] = []
        for _ in range(60):
            opened.tab.keyboard.press("Tab")
            place = opened.tab.evaluate(
                "() => document.activeElement.closest('header, .picture, .zoom, .dock, aside')?.classList.value ||"
                " document.activeElement.closest('header, aside')?.localName || 'body'"
            )
            if place == "body":
                break
            seen += [] if seen[-1:] == [place] else [place]
        assert seen == ["header", "picture", "zoom", "dock", "aside"]


def unnamed(opened: Opened) -> list[str]:
    """Roles of what can be used but has no name, as the browser tells them to a screen reader."""
    nodes = opened.tab.context.new_cdp_session(opened.tab).send("Accessibility.getFullAXTree")["nodes"]
    used = [node for node in nodes if not node["ignored"] and node["role"]["value"] in NAMED]
    assert len(used) > 1
    return [node["role"]["value"] for node in used if not node.get("name", {}).get("value", "").strip()]


# Texts that stand out too little from what is behind them: less than 4.5 to 1 (WCAG 1.4.3).
FAINT = """() => {
  const parts = (text) => {
    const found = text.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return text.startsWith("color(srgb") ? [...found.slice(0, 3).map((one) => 255 * one), found[3] ?? 1] : found;
  };
  const light = (colour) => colour.slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, i) => sum + one * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (top, below) => top.slice(0, 3).map((one, i) => one * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const style = getComputedStyle(element);
    const box = element.matches(".node") && element.querySelector(".box");
    const fills = box ? [getComputedStyle(box).fill]
      : [style.backgroundColor, ...(style.backgroundImage.match(/(?:rgba?|color)\\([^()]*\\)/g) ?? []).slice(0, 1)];
    return fills.reduce((below, fill) => (fill === "none" ? below : over(parts(fill), below)), behind(element.parentElement));
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [text, element] = [walker.currentNode.textContent.trim(), walker.currentNode.parentElement];
    if (!text || element.closest("script, style, noscript, :disabled, option")) continue;
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const [ink, ground] = [parts(element.closest("svg") ? style.fill : style.color), behind(element)];
    const [a, b] = [light(over(ink, ground)), light(ground)];
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) found.add(text.slice(0, 40));
  }
  return [...found];
}"""

RULES = {
    "ids are unique": """() => [...document.querySelectorAll("[id]")].map((one) => one.id)
        .filter((id, i, all) => all.indexOf(id) !== i)""",
    "no order of focus of its own": """() => [...document.querySelectorAll("[tabindex]")]
        .filter((one) => one.tabIndex > 0).map((one) => one.localName)""",
    "nothing hidden from screen readers takes the focus": """() =>
        [...document.querySelectorAll("[aria-hidden=true] :is(a, button, input, select, textarea, [tabindex])")]
        .map((one) => one.localName)""",
    "headings go down one level at a time": """() => {
        const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
          .filter((one) => one.checkVisibility()).map((one) => Number(one.localName[1]));
        return levels.filter((level, i) => level > (i ? levels[i - 1] : 0) + 1); }""",
    "one of each landmark, and one main heading": """() => ["main", "header", "aside[aria-label]", "h1"]
        .filter((one) => document.querySelectorAll(one).length !== 1)""",
    "the page has a language and a title": """() => [document.documentElement.lang, document.title]
        .flatMap((text, i) => (text ? [] : [i]))""",
    "heads of tables say what they are heads of": """() => [...document.querySelectorAll("th:not([scope])")]
        .map((one) => one.textContent)""",
    "lists have items alone": """() => [...document.querySelectorAll("ul > :not(li), dl > :not(dt, dd)")]
        .map((one) => one.localName)""",
    "what scrolls can be scrolled by keyboard": """() => [...document.querySelectorAll("body *")].filter((one) =>
          ["auto", "scroll"].includes(getComputedStyle(one).overflowY) && one.scrollHeight > one.clientHeight + 1
          && one.tabIndex < 0 && !one.querySelector("a, button, input, select, textarea, [tabindex='0']"))
        .map((one) => one.className)""",
    "states are true or false": """() => [...document.querySelectorAll("[aria-pressed]")]
        .filter((one) => !["true", "false"].includes(one.ariaPressed)).map((one) => one.ariaPressed)""",
    "labels belong to something": """() => [...document.querySelectorAll("label")]
        .filter((one) => !one.control).map((one) => one.textContent)""",
    "pictures are named or hidden": """() => [...document.querySelectorAll("svg, canvas, img")]
        .filter((one) => !one.closest("[aria-hidden=true]") && !one.ariaLabel).map((one) => one.localName)""",
}

BREAK = """() => {
  const add = (html) => document.querySelector("main").insertAdjacentHTML("beforeend", html);
  add(`<button id="details"></button><p id="details" style="color: #999; background: #fff">too faint</p><p tabindex="3">1</p>
    <div aria-hidden="true"><input aria-label="x"></div><h6>6</h6><table><tr><th>head</th></tr></table><ul><p>no item</p></ul>
    <div class="scroller" style="height: 9px; overflow: auto">a<br>b<br>c</div><i aria-pressed="perhaps"></i>
    <label>of nothing</label><canvas></canvas><h1>again</h1>`);
  document.title = "";
}"""
