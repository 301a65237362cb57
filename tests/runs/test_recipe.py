"""Recipes are frozen and strict, and come back from their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgewise.errors import FileError, InvalidValue
from edgewise.runs.recipe import Recipe


def test_the_defaults_are_the_demo() -> None:
    recipe = Recipe()
    assert (recipe.model, recipe.task, recipe.method, recipe.ablation) == ("nano", "ioi", "eap-ig", "corrupted")
    assert recipe.metric is recipe.edges is recipe.examples is None


def test_a_task_brings_its_own_model() -> None:
    """The model is written out in the recipe; it follows the task as long as nobody has named another."""
    assert Recipe(task="reverse").model == "reverse"
    assert Recipe(task="reverse", model="gpt2").model == "gpt2"
    assert Recipe(task="no such task").model == Recipe(data="a.csv").model == "nano"
    assert Recipe().with_changes(task="fraction").model == "fraction"
    assert Recipe(task="fraction").with_changes(task="ioi", seed=1).model == "nano"
    assert Recipe(task="fraction").with_changes(data="a.csv").model == "nano"
    assert Recipe(model="gpt2").with_changes(task="fraction").model == "gpt2"
    assert Recipe(task="fraction").with_changes(seed=1).model == "fraction"
    assert Recipe().with_changes(task="fraction", model="gpt2").model == "gpt2"


recipes = st.builds(
    Recipe,
    model=st.text(min_size=1),
    edges=st.none() | st.integers(1, 10**6) | st.just("10%"),
    ranking=st.sampled_from(["absolute", "signed"]),
    examples=st.none() | st.integers(1, 10**4),
    seed=st.integers(0, 2**32),
    stability=st.integers(0, 1000),
    metric=st.none() | st.text(),
    options=st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers())),
)


@given(recipe=recipes)
def test_a_recipe_comes_back(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    path.write_text(recipe.to_json())
    assert Recipe.read(path) == recipe


def test_a_recipe_says_what_is_selected() -> None:
    for level in ("edges", "nodes", "neurons"):
        recipe = Recipe.of(**{level: 7})
        assert (recipe.level, recipe.size) == (level, 7)
    assert (Recipe().level, Recipe().size) == ("edges", None)


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(ValidationError):
        Recipe().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modle": "x"}, "unknown key 'modle'; did you mean 'model'"),
        ({"edges": -1}, "asked for -1 edges; give 1 or more"),
        ({"edges": "200"}, "asked for '200' edges; give 1 or more"),
        ({"seed": 1.0}, "seed: input should be a valid integer"),
        ({"seed": -1}, "seed: "),
        ({"batch_size": 0}, "batch_size: "),
        ({"examples": 0}, "examples: "),
        ({"ranking": "best"}, "ranking: input should be 'absolute' or 'signed', not 'best'"),
        ({"task": "ioi", "data": "a.csv"}, "give a task or a file of data, not both"),
        ({"data": "a.csv", "corruption": "abc"}, "corruption is for tasks"),
        ({"options": [1]}, "options: "),
        ({"edges": 3, "neurons": 3}, "the number of edges, of nodes or of neurons, but only one"),
        ({"nodes": -1}, "asked for -1 nodes; give 1 or more"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Recipe.of(**fields)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(FileError, match=message) as caught:
        Recipe.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("model: nano", "is not JSON"),
        ('{"model": "na', "is truncated"),
        ("[]", "holds a JSON list"),
        ('{"schema": "edgewise/circuit", "version": 1}', "holds 'edgewise/circuit', not a recipe"),
        ('{"schema": "edgewise/recipe", "version": 2}', "written by a newer edgewise"),
        ('{"schema": "edgewise/manifest", "version": 1}', "not a recipe"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        Recipe.read(path)


def test_missing_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        Recipe.read(tmp_path / "none.json")


def test_a_manifest_holds_the_recipe_of_its_run(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"schema": "edgewise/manifest", "version": 1, "recipe": {"seed": 3}, "files": {}}))
    # As runs were before pairs were held out, and a size was chosen by what it keeps.
    assert Recipe.read(path) == Recipe(seed=3, held_out=None, split=None, faithfulness=None)
    path.write_text(json.dumps({"schema": "edgewise/manifest", "version": 1, "recipe": Recipe(seed=3).model_dump()}))
    assert Recipe.read(path) == Recipe(seed=3)


def test_a_task_takes_the_place_of_data_and_the_other_way_round() -> None:
    from_data = Recipe(task="ioi", corruption="abc").with_changes(data="mine.csv")
    assert (from_data.task, from_data.data, from_data.corruption) == (None, "mine.csv", None)
    assert from_data.prompts == "mine"
    assert from_data.with_changes(task="induction").data is None
