"""Many runs: every combination once, each in its folder; what is there is not done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import edgewise, make_model, refused

from edgewise.errors import FileError, UnknownName
from edgewise.executors import processes
from edgewise.runs.many import every, failed, folder_name, run_many
from edgewise.runs.recipe import Recipe


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def recipe(model: Path) -> Recipe:
    return Recipe.of(model=str(model), examples=3, edges=20, curve=0)


def test_every_combination(recipe: Recipe) -> None:
    recipes = every(recipe, {"method": ["eap", "random"], "seed": [0, 4]})
    assert [(one.method, one.seed) for one in recipes] == [("eap", 0), ("eap", 4), ("random", 0), ("random", 4)]
    assert len({folder_name(one) for one in recipes}) == 4
    assert every(recipe, {}) == [recipe]


def test_a_dry_run_says_what_is_missing_and_does_none_of_it(tmp_path: Path) -> None:
    asked = [
        "batch",
        "--method",
        "eap,random",
        "--seed",
        "0,1",
        "--edges",
        "20",
        "--out",
        tmp_path / "grid",
        "--dry-run",
    ]
    small = tmp_path / "small.json"
    small.write_text(json.dumps({"examples": 4, "held_out": 4, "curve": 0}))
    told = json.loads(edgewise(*asked, "--recipe", small, "--json").stdout)["missing"]
    assert [(row["method"], row["size"], row["runs"]) for row in told] == [("eap", 20, 2), ("random", 20, 2)]
    assert all(row["seconds"] > 0 and row["memory"] > 0 for row in told)
    shown = edgewise(*asked, "--recipe", small).stdout
    assert "4 runs to do" in shown
    assert "files     none: this was a dry run" in shown
    assert not (tmp_path / "grid").exists()


def test_what_is_done_stays_and_what_is_missing_is_done(recipe: Recipe, tmp_path: Path) -> None:
    recipes = every(recipe, {"method": ["eap", "random"]})
    (first,) = run_many(recipes[:1], tmp_path / "runs")
    written = first.folder.stat().st_mtime_ns
    with processes(1) as executor:
        cells = run_many(recipes, tmp_path / "runs", executor=executor)
    assert all(cell.done and cell.problem is None for cell in cells)
    assert cells[0].folder.stat().st_mtime_ns == written
    assert [cell.row()["method"] for cell in cells] == ["eap", "random"]
    assert all(isinstance(cell.row()["faithfulness"], float) for cell in cells)


def test_one_that_fails_keeps_no_other_from_being_done(recipe: Recipe, tmp_path: Path) -> None:
    cells = run_many(every(recipe, {"metric": ["accuracy", "logit_diff"], "method": ["eap"]}), tmp_path)
    assert [cell.done for cell in cells] == [False, True]
    (problem,) = failed(cells)
    assert "accuracy" in str(problem.problem)
    assert problem.row()["problem"] == problem.problem


def test_all_is_checked_before_the_first_begins(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UnknownName):
        run_many([recipe, recipe.with_changes(ablation="nothing")], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs" / folder_name(recipe)).mkdir(parents=True)
    with pytest.raises(FileError, match="holds something else"):
        run_many([recipe], tmp_path / "runs")


def test_on_the_command_line(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json())
    options = ["--recipe", path, "--method", "eap,random", "--seed", "1,2", "--out", tmp_path / "runs"]
    found = edgewise("batch", *options, "--json")
    assert found.exit_code == 0, found.output
    assert [(row["method"], row["seed"]) for row in json.loads(found.stdout)["runs"]] == [
        ("eap", 1),
        ("eap", 2),
        ("random", 1),
        ("random", 2),
    ]
    again = edgewise("batch", *options)
    assert "4 of 4 runs" in again.stdout
    refused(edgewise("batch", "--seed", "one"), message="give whole numbers")
