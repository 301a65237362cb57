"""edgewise compare: what it prints and leaves, and that mistakes get one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.command_line import edgewise, refused

FEW = ["--examples", "4", "--methods", "eap,exact", "--edges", "10,20%", "--pictures", "none"]


def test_nano_from_end_to_end(here: Path) -> None:
    result = edgewise("compare", *FEW, "--methods", "eap,acdc,exact", "--option", "acdc.values=[0.1]", "--out", "run")
    assert result.exit_code == 0, result.output
    assert os.listdir(here) == ["run"]
    for word in ("eap", "acdc", "exact", "random", "Recovery of the reference, edges", "Faithfulness", "1 by tau"):
        assert word in result.stdout
    assert "of 479 edges" in result.stdout
    document = json.loads((here / "run" / "comparison.json").read_text())
    by_name = {result["name"]: result for result in document["results"]}
    # Exact effects make the reference, so they find it all; chance finds half.
    assert by_name["exact"]["recovery"]["edges"]["auc_pessimistic"] == 1
    assert by_name["eap"]["recovery"]["edges"]["auc_trapezoid"] > 0.8
    assert by_name["eap"]["agreement"]["overlap"] > 0.5
    again = edgewise("compare", "--recipe", "run/recipe.json", "--out", "run", "--json")
    assert {**json.loads(again.stdout), "seconds": 0, "folder": 0, "files": 0} == {
        **document,
        "seconds": 0,
        "folder": 0,
        "files": 0,
    }


def test_options_change_a_recipe(here: Path, model: Path) -> None:
    first = edgewise("compare", "--model", model, *FEW, "--out", "first", "--quiet")
    assert (first.exit_code, first.output) == (0, "")
    changes = ["--reference", "none", "--option", "eap.label=mine", "--option", "eap.ranking=signed"]
    result = edgewise("compare", "--recipe", "first/manifest.json", *changes, "--json")
    found = json.loads(result.stdout)
    assert found["folder"] == "runs/compare-ioi-tiny"
    assert found["results"][0].items() >= {"name": "mine", "method": "eap", "ranking": "signed"}.items()
    assert found["reference"] is None


def test_heads_are_studied_at_a_size(here: Path, model: Path) -> None:
    result = edgewise("compare", "--model", model, *FEW, "--heads", "10%", "--json")
    found = json.loads(result.stdout)["heads"]
    assert set(found["edges"]) == {"eap", "exact"}
    assert found["edges"]["eap"] == found["size"]
    refused(edgewise("compare", "--model", model, *FEW, "--heads", "10%,20%"), message="asked for '10%,20%' edges")


def test_own_pairs_are_compared_on(here: Path, model: Path) -> None:
    from edgewise import load, task

    prompts = task("ioi").prompts(load(model).tokenizer, n=4)
    rows = [{"clean": p.clean, "corrupted": p.corrupted, "correct": list(p.correct)} for p in prompts]
    Path("mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    result = edgewise("compare", "--model", model, "--data", "mine.jsonl", "--methods", "eap", *FEW[4:], "--json")
    found = json.loads(result.stdout)
    assert (found["folder"], found["metric"]) == ("runs/compare-mine-tiny", "nll")
    assert set(found["ends"]) == {"nll", "kl", "accuracy"}  # no wrong answers, so no logit difference


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "eapp"], "unknown method 'eapp'; did you mean 'eap'?"),
        (["--methods", "eap,eap"], "two methods are called 'eap'; give one of them a label of its own"),
        (["--methods", "eap,"], "unknown method ''"),
        (["--task", "iou"], "unknown task 'iou'; did you mean 'ioi'?"),
        (["--reference", "task"], "is of another model: 12 layers, 12 heads: 32,491 edges"),
        (
            ["--reference", "task", "--task", "induction"],
            "there is no known circuit for the task induction; give --reference",
        ),
        (["--reference", "exact:x"], "needs a threshold above 0"),
        (["--reference", "exact:1e9"], "no edge has an effect of 1e+09 or more"),
        (["--reference", "none.json"], "none.json: no such file"),
        (["--reference", "scores.json"], "is not JSON"),
        (["--edges", "5,x"], "asked for 'x' edges; give 1 or more, or a share of all, such as '10%'"),
        (["--edges", "1000000"], "asked for 1,000,000 edges"),
        (["--option", "tau=0.1"], "does not name a compared method; write it as in eap.tau="),
        (["--option", "eap.steps=3"], "the method eap has no option 'steps'"),
        (["--option", "eap.ranking=best"], "should be 'absolute' or 'signed', not 'best'"),
        (["--methods", "acdc", "--option", "acdc.tau=NaN"], "tau must be a number"),
        (["--pictures", "pdf"], "should be 'svg' or 'png', not 'pdf'"),
        (["--metric", "logit-dif"], "did you mean 'logit_diff'?"),
        (["--examples", "0"], "examples: "),
        (["--recipe", "none.json"], "none.json: no such file"),
        (["--out", "taken"], "taken already exists and holds no comparison; name a new folder"),
        (["--out", "scores.json/run"], "cannot be created"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence(here: Path, model: Path, arguments: list[str], message: str) -> None:
    Path("scores.json").write_text("scores")
    Path("taken").mkdir()
    Path("taken/mine").write_text("precious")
    result = edgewise("compare", "--model", model, *FEW, *arguments)
    refused(result, message=message)
    assert sorted(os.listdir("taken")) == ["mine"]


def test_an_interrupt_says_how_to_go_on(here: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["edgewise.comparison.comparison_job"], "run_entry", interrupted)
    result = edgewise("compare", "--model", model, *FEW)
    assert result.exit_code == 130
    expected = (
        "interrupted; what is finished is kept in runs/compare-ioi-tiny, and the same command goes on from there\n"
    )
    assert result.stderr == expected
