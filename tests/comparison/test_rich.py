"""What a cell of a notebook, or a prompt, shows of results: little text, and tables where there is HTML."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from support.families import pairs, random_circuit, subject

import edgewise as ew
from edgewise.comparison.tables import tables
from edgewise.evaluation import measure_recovery, measure_roles, size_curve

# Less than half a screen of a terminal; a report may warn.
LONGEST_REPR = 800


@cache
def results() -> dict[str, Any]:
    """One of each value that a public verb returns, none of them tiny."""
    on, at = subject("gpt2"), pairs()
    scores = ew.attribute(on, at, method="eap")
    comparison = ew.compare(on, at, methods=["eap"], reference=random_circuit(on, 0.2, seed=3), edges=[12, 40])
    report = ew.evaluate(on, scores.top(40), at)
    return {
        "circuit": scores.top(40),
        "comparison": comparison,
        "curve": size_curve(on, scores, at),
        "measured": comparison.results[0].curve[0],
        "metric report": report["kl"],
        "outcome": comparison.results[0].outcome,
        "pairs": at,
        "recovery": measure_recovery(scores, random_circuit(on, 0.2, seed=3)),
        "report": report,
        "result": comparison.results[0],
        "roles": measure_roles(on, at),
        "scores": scores,
        "stability": ew.stability(on, at, method="random", seeds=[0, 1], edges=40),
        "subject": on,
        "sweep": ew.sweep(on, at, values=[0.3, 0.1]),
    }


def test_a_prompt_shows_a_few_lines_of_any_result() -> None:
    assert {name: len(repr(value)) for name, value in results().items() if len(repr(value)) > LONGEST_REPR} == {}


def test_a_comparison_names_what_was_compared() -> None:
    shown = repr(results()["comparison"])
    assert shown.startswith("<Comparison: eap, random at 12, 40 edges, by logit_diff on the 5 pairs")


def test_a_notebook_shows_the_tables_of_a_comparison() -> None:
    comparison = results()["comparison"]
    html = comparison._repr_html_()
    for table in tables(comparison):
        assert f"<h4>{table.title}</h4>" in html
    assert html.count("<table>") == len(tables(comparison))
    assert "<script" not in html
    assert len(html) < 40_000


def test_what_a_label_says_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"method": "eap", "label": "<img src=x>"}
    shown = ew.compare(subject("gpt2"), pairs(), methods=[named], reference="none", edges=[12])._repr_html_()
    assert "<img" not in shown
    assert "&lt;img src=x&gt;" in shown
