"""What people take away from the page: a circuit file that edgewise opens, a table, a link, a sheet of paper."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.browser import GROUPED, SMALL, Opened, Opener, circuit_of, made_curve, made_scores, report_of

import edgewise as ew
from edgewise.circuit import Circuit
from edgewise.curve import Curve, CurvePoint
from edgewise.graph import SEPARATE_INPUTS, Graph
from edgewise.scores import Scores
from edgewise.viewer import Finding
from edgewise.viewer.contents import document

RECIPE = {"model": "gpt2", "task": "ioi", "options": {"steps": 5}}
SCORES = made_scores(SMALL, recipe=RECIPE, seed=3)
FINDING = Finding(circuit_of(SCORES, 60), SCORES, curves=(made_curve(SMALL),), report=report_of(0.7))


def opened_again(opened: Opened, folder: Path) -> Circuit:
    """The circuit that the page exports, as edgewise opens it."""
    file = folder / "exported" / "circuit.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(opened.exported("circuit"))
    circuit = ew.open(file)
    assert isinstance(circuit, Circuit)
    again = ew.save(circuit, file.with_name("again.json"))
    assert json.loads(again.read_text())["edges"] == json.loads(file.read_text())["edges"]  # the same order
    return circuit


# -- a circuit file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [SMALL, GROUPED, Graph(1, 2, 1, mlps=False), Graph(1, 2, 2, inputs=SEPARATE_INPUTS)])
def test_the_slider_exports_a_circuit_that_edgewise_opens(opening: Opener, graph: Graph, tmp_path: Path) -> None:
    scores = made_scores(graph, recipe=RECIPE)
    with opening(Finding(scores=scores)) as opened:
        for n, absolute in ((0, True), (graph.n_edges // 2, False), (graph.n_edges // 3, True)):
            opened.state(n=n, ranking="absolute" if absolute else "signed")
            circuit, expected = opened_again(opened, tmp_path), scores.top(n, absolute=absolute)
            assert circuit == expected
            assert circuit.provenance["selection"]["n"] == n
            assert circuit.provenance["selection"]["absolute"] is absolute
            known = {key: value for key, value in expected.provenance.items() if key != "selection"}
            assert {key: circuit.provenance[key] for key in known} == known


def test_a_cut_and_filtered_circuit_says_how_it_was_cut(opening: Opener, tmp_path: Path) -> None:
    finding = replace(FINDING, circuit=FINDING.shown.with_provenance(faithfulness={"circuit": 0.7}))
    with opening(finding, "n=30&kinds=qv") as opened:
        circuit = opened_again(opened, tmp_path)
        assert set(circuit.edges) == opened.shown()
        assert circuit.provenance["page"] == {
            "scope": "circuit",
            "ranking": "absolute",
            "edges": len(circuit),
            "address": "n=30&kinds=qv",
        }
        # What was said of the whole circuit is not true of this one.
        assert not {"faithfulness", "selection"} & circuit.provenance.keys()
        assert circuit.provenance["recipe"] == RECIPE


def test_of_two_circuits_at_once_no_origin_is_claimed(opening: Opener, tmp_path: Path) -> None:
    other = circuit_of(made_scores(SMALL, seed=1), 50)
    with opening(replace(FINDING, other=Finding(other)), "scope=compare") as opened:
        circuit = opened_again(opened, tmp_path)
        assert circuit == FINDING.shown | other
        assert circuit.provenance.keys() == {"page"}


# -- the table --------------------------------------------------------------------------------------------------------


def column(opened: Opened, number: int) -> list[str]:
    return opened.tab.locator(f".table tbody tr > :nth-child({number})").all_inner_texts()


def test_the_table_is_sorted_by_a_press_on_a_column(opening: Opener) -> None:
    edges = FINDING.shown.edges
    with opening(FINDING, "panel=table") as opened:
        head = opened.tab.locator(".table thead")
        for press, expected, order in (
            ("score", sorted(edges, key=lambda edge: -SCORES[edge]), "descending"),
            ("score ↓", sorted(edges, key=lambda edge: SCORES[edge]), "ascending"),
            ("#", sorted(edges, key=lambda edge: -abs(SCORES[edge])), None),
        ):
            head.get_by_role("button", name=press, exact=True).click()
            opened.settled()
            assert column(opened, 2) == expected
            assert opened.tab.evaluate("() => document.querySelector('[aria-sort]')?.ariaSort ?? null") == order
        head.get_by_role("button", name="into").click()
        opened.settled()
        assert column(opened, 3) == sorted(column(opened, 3), key="–kqv".index)
        assert "sort=into" in opened.tab.evaluate("() => location.hash")
        opened.tab.reload()
        opened.settled()
        assert column(opened, 3) == sorted(column(opened, 3), key="–kqv".index)


def test_all_rows_are_copied_for_a_spreadsheet(opening: Opener) -> None:
    with opening(Finding(scores=SCORES), "panel=table&n=250&sort=-score") as opened:
        opened.tab.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
        opened.tab.get_by_role("button", name="Copy all rows").click()
        head, *rows = [line.split("\t") for line in opened.tab.evaluate("() => window.copied").splitlines()]
        assert head == ["#", "edge", "into", "score"]
        assert [row[1] for row in rows] == sorted(SCORES.top(250).edges, key=lambda edge: -SCORES[edge])
        assert all(float(row[3]) == SCORES[row[1]] for row in rows)  # in full, not as they are shown
        assert opened.tab.get_by_role("button", name="Copied").count() == 1
        # Where a browser gives no clipboard to a page, a selection is copied.
        opened.tab.evaluate(
            """() => { navigator.clipboard.writeText = async () => { throw new Error("no"); };
            document.execCommand = (name) => { window.copied = name + getSelection(); return false; }; }"""
        )
        opened.tab.get_by_role("button", name="Copied").click()
        assert opened.tab.get_by_role("button", name="Not copied").count() == 1


# -- hints ------------------------------------------------------------------------------------------------------------


def test_where_signed_scores_do_better_the_page_says_so(opening: Opener) -> None:
    points = (CurvePoint(0, 0.0, 0.0), CurvePoint(20, 0.9, 0.0), CurvePoint(479, 1.0, 1.0))
    finding = Finding(scores=SCORES, curves=(made_curve(SMALL), Curve("logit_diff", "signed", points)))
    with opening(finding, "n=20") as opened:
        reading = opened.tab.locator(".reading")
        assert reading.inner_text().endswith("; by signed score 90%")
        opened.state(ranking="signed")
        assert "by " not in reading.inner_text()
        opened.state(ranking="absolute", n=479)
        assert "by " not in reading.inner_text()


def test_without_a_signed_curve_edges_that_hurt_are_the_hint() -> None:
    def hints(finding: Finding) -> list[str]:
        return [text for text in document(finding).missing if "signed" in text]

    circuit = SCORES.top(60)
    hurting = sum(SCORES[edge] < 0 for edge in circuit.edges)
    (hint,) = hints(Finding(circuit, SCORES))
    assert hint.startswith(f"{hurting} of the 60 edges hurt the metric")
    assert hint.endswith("edgewise discover --model gpt2 --task ioi --option steps=5 --ranking signed")
    helping = Scores(SMALL, SCORES.values.abs(), SCORES.provenance)
    signed = Curve("logit_diff", "signed", (CurvePoint(0, 0.0, 0.0),))
    for finding in (
        Finding(SCORES.top(60, absolute=False), SCORES),  # ranked so already
        Finding(helping.top(60), helping),  # nothing hurts
        Finding(circuit, SCORES, curves=(signed,)),  # measured, and shown where it is better
        Finding(circuit),  # nothing is known
        Finding(SCORES.top(0), SCORES),
    ):
        assert hints(finding) == []


# -- paper ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_paper_are_picture_and_facts_and_nothing_to_press(opening: Opener, theme: str) -> None:
    with opening(FINDING, f"theme={theme}") as opened:
        opened.tab.emulate_media(media="print")
        opened.settled()
        for pressed in ("header .tools", ".zoom", ".slider", ".search"):
            assert not opened.tab.locator(pressed).first.is_visible(), pressed
        for told in ("h1", ".picture", ".legend", ".source", ".reading", ".chart"):
            assert opened.tab.locator(told).first.is_visible(), told
        cut = "() => { const one = document.querySelector('aside'); return one.scrollHeight - one.clientHeight; }"
        assert opened.tab.evaluate(cut) <= 1
        assert opened.tab.evaluate("() => getComputedStyle(edgewise.root).backgroundColor") == "rgb(255, 255, 255)"
        assert opened.tab.pdf(format="A4", print_background=True).startswith(b"%PDF")
