"""A dry run: what it says a run would do, of every method, and that it does nothing of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import edgewise, refused

import edgewise as ew
from edgewise.errors import InvalidValue
from edgewise.methods import METHODS
from edgewise.ranks import current
from edgewise.runs import dry_run as module
from edgewise.runs.dry_run import dry_run
from edgewise.runs.recipe import Recipe

FEW = {"examples": 6, "held_out": 6, "batch_size": 2, "curve": 1}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loop is left after its first step."""
    monkeypatch.setattr(module, "SECONDS_WATCHED", 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_begun_and_left(method: str) -> None:
    size = {"edges": 20} if METHODS[method].size_option is None or method in ("edge-pruning", "hap") else {}
    found = dry_run(Recipe.of(method=method, **FEW, **size))
    assert (found.edges, found.nodes, found.examples, found.held_out) == (479, 22, 6, 6)
    assert (found.batches, found.batch_size) == (3, 2)
    assert found.untold == ""
    assert found.stages[-1].label.startswith("evaluating")
    assert found.memory > sum(one.nbytes for one in ew.load("nano").model.parameters())
    assert all(one.steps > 0 and one.seconds > 0 for one in found.stages)
    assert found.seconds > sum(one.seconds for one in found.stages)


def test_steps_are_those_of_the_run_and_all_of_them_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.of(method="eap-ig", edges=20, **FEW)
    left = {one.label: one.steps for one in dry_run(recipe).stages}
    assert left["scoring edges (eap-ig)"] == 3
    monkeypatch.setattr(module, "SECONDS_WATCHED", 1e9)
    assert {one.label: one.steps for one in dry_run(recipe).stages} == left


def test_what_fails_because_it_was_left_is_told_and_what_fails_anyway_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*given: object, **more: object) -> None:
        raise InvalidValue("no report of this")

    monkeypatch.setattr("edgewise.runs.run.report_on", broken)
    recipe = Recipe.of(method="eap", edges=20, **FEW)
    found = dry_run(recipe)
    assert found.untold == "no report of this"
    assert [one.label for one in found.stages] == ["scoring edges (eap)"]
    monkeypatch.setattr(module, "SECONDS_WATCHED", 1e9)
    with pytest.raises(InvalidValue, match="no report of this"):
        dry_run(recipe)


def test_the_search_for_a_size_is_told_too_and_takes_no_more_loops() -> None:
    steps = {one.label: one.steps for one in dry_run(Recipe.of(method="eap", **{**FEW, "curve": 6})).stages}
    assert list(steps) == [
        "scoring edges (eap)",
        "evaluating the circuit",
        "evaluating 12 circuits",
        "looking for the size",
    ]
    assert steps["looking for the size"] == 3 * 3  # rounds beyond the sizes on the curve, batches of the pairs held out
    without = {one.label: one.steps for one in dry_run(Recipe.of(method="eap", **{**FEW, "curve": 0})).stages}
    assert without["looking for the size"] == 4 * 3
    asked = {one.label for one in dry_run(Recipe.of(method="eap", edges=20, **FEW)).stages}
    assert "looking for the size" not in asked


def test_of_many_steps_two_are_watched_since_the_first_may_make_ready_for_all() -> None:
    def steps() -> Iterator[int]:
        time.sleep(0.05)
        yield from range(1000)

    few, many = module.Begun(), module.Begun()
    assert list(few(steps(), 10, "few")) == [0]
    assert list(many(steps(), 1000, "many")) == [0, 1]
    assert few.stages[0].seconds > 10 * 0.04
    assert 0.05 < many.stages[0].seconds < 1000 * 0.04


def test_several_processes_make_no_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    several = type("Ranks", (), {"count": 2})()
    monkeypatch.setattr(module, "current", lambda: several)
    assert current().count == 1
    with pytest.raises(InvalidValue, match="a dry run is made in one process"):
        dry_run(Recipe.of(**FEW))


def test_the_command_says_it_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["discover", "--dry-run", "--examples", "6", "--held-out", "6", "--option", "trace=trace.jsonl"]
    shown = edgewise(*words, "--method", "acdc").stdout
    for line in (
        "model     nano: 479 edges between 22 nodes",
        "prompts   6 pairs of ioi, 6 held out",
        "files     none",
    ):
        assert line in shown
    told = json.loads(edgewise(*words, "--method", "acdc", "--json").stdout)
    assert told["stages"][0]["label"] == "testing edges (acdc, tau 0.01)"
    assert list(tmp_path.iterdir()) == []
    refused(edgewise(*words, "--method", "acdc", "--edges", "9"), message="acdc decides itself")
