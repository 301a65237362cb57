"""edgewise select cuts scores again, and evaluate takes scores at a size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import edgewise, refused

import edgewise as ew


def test_it_writes_a_circuit_that_other_commands_take(a_run: Path, here: Path) -> None:
    scores = ew.open(a_run / "scores.safetensors")
    assert isinstance(scores, ew.Scores)
    found = edgewise("select", a_run, "--edges", "20", "-o", "small.json")
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("edges     20 selected by absolute score, ")
    assert "curve     of the run, logit_diff: " in found.stdout
    assert "files     small.json" in found.stdout
    assert ew.open("small.json") == scores.top(20).without_dangling()
    from_file, from_scores = (
        json.loads(edgewise("evaluate", *asked, "--json").stdout)
        for asked in (["small.json"], [a_run / "scores.safetensors", "--edges", "20"])
    )
    assert from_file["circuit"] == from_scores["circuit"]
    assert from_file["report"]["metrics"] == from_scores["report"]["metrics"]
    assert "20 selected by absolute score" in edgewise("evaluate", a_run, "--edges", "20").stdout


def test_a_folder_takes_files_named_by_size_and_ranking(a_run: Path, here: Path) -> None:
    told = json.loads(edgewise("select", a_run, "--signed", "-o", here, "--json").stdout)
    assert (Path(told["file"]).name, told["circuit"]["ranking"]) == ("circuit-30-signed.json", "signed")
    assert ew.open(told["file"]).provenance["selection"]["absolute"] is False
    refused(edgewise("select", a_run, "--signed", "-o", here), message="already exists")
    assert edgewise("select", a_run, "--signed", "-o", here, "--force", "--quiet").stdout == ""


def test_it_finds_the_size_that_keeps_enough(a_run: Path, here: Path) -> None:
    asked = ["--faithfulness", "0.6", "--metric", "kl", "--held-out", "6"]
    found = edgewise("select", a_run, *asked, "-o", "enough.json")
    assert found.exit_code == 0, found.output
    circuit = ew.open("enough.json")
    chosen = circuit.provenance["selection"]
    assert f"size      the smallest of {len(chosen['tried'])} sizes tried that keeps 0.6 of kl" in found.stdout
    assert circuit.provenance["faithfulness"]["held_out"] == 6
    assert circuit.provenance["recipe"]["faithfulness"] == 0.6


def test_discover_keeps_enough(model: Path, here: Path) -> None:
    small = ["--model", model, "--examples", "6", "--held-out", "6", "--curve", "0", "--metric", "kl"]
    found = edgewise("discover", *small, "--faithfulness", "0.6", "--out", "run")
    assert found.exit_code == 0, found.output
    assert "sizes tried that keeps 0.6 of kl: it keeps 0." in found.stdout
    # Another option takes its place in a recipe, and it takes the place of others.
    again = edgewise("discover", "--recipe", "run/recipe.json", "--edges", "9", "--out", "sized", "--json")
    assert json.loads(again.stdout)["recipe"]["faithfulness"] is None
    back = edgewise("discover", "--recipe", "sized/recipe.json", "--faithfulness", "0.6", "--out", "back", "--json")
    assert json.loads(back.stdout)["recipe"]["edges"] is None
    assert ew.open("back/circuit.json") == ew.open("run/circuit.json")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "nothing says how to cut; give --edges, --faithfulness, or --signed"),
        (["--edges", "5", "--faithfulness", "0.5"], "give a size, or the faithfulness to keep, not both"),
        (["--edges", "5", "--seed", "3"], "--seed is for --faithfulness, which runs the model; leave it out"),
        (["--edges", "0"], "give 1 or more"),
        (["--faithfulness", "0"], "above 0 and at most 1"),
        (["--faithfulness", "1.2"], "above 0 and at most 1"),
        (["--faithfulness", "nan"], "above 0 and at most 1"),
        (["--edges", "5", "-o", "a.txt"], "name a file that ends in .json, or a folder that is there"),
        (["--edges", "5", "-o", "no/a.json"], "no/a.json cannot be written"),
    ],
)
def test_mistakes_are_said(given: list[str], said: str, a_run: Path, here: Path) -> None:
    refused(edgewise("select", a_run, *given), message=said)
    assert not list(here.iterdir())


def test_other_mistakes_are_said(a_run: Path, here: Path) -> None:
    refused(edgewise("select", a_run / "circuit.json", "--edges", "5"), message="holds no scores to cut")
    refused(edgewise("evaluate", a_run / "circuit.json", "--edges", "5"), message="holds no scores to cut")
    refused(edgewise("evaluate", a_run / "scores.safetensors"), message="or cut them with --edges")
    refused(edgewise("discover", "--edges", "5", "--faithfulness", "0.5"), message="not both")
    refused(edgewise("discover", "--method", "acdc", "--faithfulness", "0.5"), message="acdc decides itself")
