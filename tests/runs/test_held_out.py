"""A run judges its circuit on pairs it was not found on, and says how much further it is from the model there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command_line import make_model

import edgewise as ew
from edgewise.errors import InvalidValue
from edgewise.runs.from_file import check
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import Run, run
from edgewise.runs.source import open_source

FEW: dict[str, Any] = {"method": "eap", "examples": 6, "edges": 20, "curve": 1}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def done(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(Recipe.of(model=tiny, held_out=10, **FEW), tmp_path_factory.mktemp("runs") / "run")


def test_both_sides_are_reported(done: Run, tiny: str) -> None:
    subject, source = ew.load(tiny), open_source(done.recipe)
    found_on = source.pairs(subject.tokenizer)
    held_out = source.held_out(subject.tokenizer, found_on)
    assert held_out is not None
    assert done.found_on is not None
    for pairs, report in ((held_out, done.report), (found_on, done.found_on)):
        expected = ew.evaluate(subject, done.circuit, pairs, metrics=["kl"], random=None)
        assert report["kl"].circuit == pytest.approx(expected["kl"].circuit, abs=1e-6)
        assert report.examples == len(pairs)
    assert done.overfitting == pytest.approx(done.report["kl"].circuit / done.found_on["kl"].circuit)
    assert done.circuit.provenance["faithfulness"]["held_out"] == 10


def test_the_folder_and_its_page_say_so(done: Run) -> None:
    assert done.folder is not None
    assert done.found_on is not None
    assert done.overfitting is not None
    report = json.loads((done.folder / "report.json").read_text())
    assert (report["held_out"], report["examples"], report["found_on"]["examples"]) == (True, 10, 6)
    assert report["found_on"]["overfitting"] == pytest.approx(done.overfitting)
    page = (done.folder / "circuit.html").read_text()
    share = done.found_on["logit_diff"].faithfulness
    assert f"measured on 10 held-out pairs; {share:.0%} faithful on those it was found on" in page
    assert f"KL is {done.overfitting:.2f} × that on those it was found on" in page


def test_nothing_held_out_is_as_before(tiny: str) -> None:
    found = run(Recipe.of(model=tiny, held_out=0, **FEW))
    assert found.found_on is None
    assert found.overfitting is None
    assert not found.report.held_out
    assert found.report.examples == 6
    assert "found_on" not in found.on_pairs_found_on


def test_what_is_held_out_is_evaluated_again_unless_other_prompts_are_named(done: Run) -> None:
    assert done.folder is not None
    _, again = check(done.folder, {})
    assert (again.held_out, again.examples) == (True, 10)
    assert again["kl"].circuit == pytest.approx(done.report["kl"].circuit, abs=1e-6)
    _, others = check(done.folder, {"seed": 5})
    assert (others.held_out, others.examples) == (False, 6)
    _, more = check(done.folder, {"held_out": 12})
    assert (more.held_out, more.examples) == (True, 12)


def test_by_default_a_task_draws_as_many_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.runs.source.HELD_OUT_OF_A_TASK", 128)
    tokenizer = ew.load("reverse").tokenizer
    plenty = open_source(Recipe(task="reverse", examples=5))
    held = plenty.held_out(tokenizer, plenty.pairs(tokenizer))
    assert held is not None
    assert len(held) == 128
    scarce = open_source(Recipe(task="reverse", examples=2000))  # nearly all of the few hundred prompts that there are
    few = scarce.held_out(tokenizer, scarce.pairs(tokenizer))
    assert few is None or len(few) < 128


def test_rows_of_a_file_are_split(tiny: str, tmp_path: Path) -> None:
    texts = ew.task("ioi").pairs(ew.load(tiny).tokenizer, n=12).texts
    rows = [
        {"clean": clean, "corrupted": corrupted, "correct": " Mary", "wrong": " John"} for clean, corrupted in texts
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    asked = Recipe.of(model=tiny, data=str(tmp_path / "pairs.json"), method="eap", edges=20, curve=0, split=0.25)
    found = run(asked)
    assert found.found_on is not None
    assert (found.found_on.examples, found.report.examples) == (9, 3)
    assert run(asked.with_changes(split=0.0)).found_on is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"task": "ioi", "split": 0.5}, "a split is of a file's rows"),
        ({"held_out": -1}, "held_out: must be a number of pairs, 0 for none, or 'auto', not -1"),
        ({"held_out": "many"}, "held_out: must be a number of pairs, 0 for none, or 'auto', not 'many'"),
        ({"held_out": True}, "held_out: must be a number of pairs, 0 for none, or 'auto', not True"),
        ({"data": "mine.csv", "split": 1.0}, "split: must be a share of at least 0 and below 1"),
        ({"data": "mine.csv", "split": "half"}, "split: must be a share of at least 0 and below 1"),
        ({"data": "mine.csv", "split": [1]}, "split: must be a share of at least 0 and below 1"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        Recipe.of(**fields)


def test_rows_that_share_their_prompts_are_not_held_out_and_that_is_said(tmp_path: Path) -> None:
    names = ["Mary", "John", "Kate", "Paul"]
    frames = ["When {} met Tom, Tom gave a book to", "After {} met Tom, Tom gave a ring to"]
    rows = [
        {"clean": frame.format(one), "corrupted": frame.format(other), "correct": f" {one}", "wrong": f" {other}"}
        for frame in frames
        for one in names
        for other in names
        if one != other
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked: dict[str, Any] = {
        "data": str(tmp_path / "mine.jsonl"),
        "model": "nano",
        "edges": 20,
        "method": "eap",
        "curve": 0,
    }
    found = run(Recipe.of(**asked))
    assert found.found_on is None
    assert any("no rows are held out, since they share prompts" in said for said in found.report.warnings)
    apart = run(Recipe.of(**asked, split=0.2))
    assert apart.report.examples == len(rows) // 2  # one of the two frames
    for report in (apart.report, run(Recipe.of(**asked, split=0)).report):
        assert not any("no rows are held out" in said for said in report.warnings)
