"""Recipes of comparisons are frozen and strict, and come back from their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgewise.comparison.compare import with_baseline
from edgewise.comparison.compare_recipe import CompareRecipe, Entry, sizes_on, with_options
from edgewise.errors import FileError, InvalidValue
from edgewise.graph import Graph

ROOT = Path(__file__).parents[2]


def test_a_recipe_comes_back(tmp_path: Path) -> None:
    entries: list[Any] = ["eap", {"method": "acdc", "values": [1, 0.1], "metric": "logit_diff", "label": "acdc (LD)"}]
    recipe = CompareRecipe.of(task="induction", methods=entries, edges=[10, "5%"], reference="exact:0.05", seed=3)
    assert recipe.methods[0] == Entry(method="eap")
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert CompareRecipe.read(tmp_path / "recipe.json") == recipe
    with pytest.raises(ValidationError):
        recipe.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "eap"}, "unknown key 'method'; did you mean 'methods'"),
        ({"methods": []}, "methods: "),
        ({"methods": ["eap", {"method": "exact", "label": "EAP"}]}, "two methods are called 'EAP'"),
        ({"methods": [{"label": "x"}]}, "the key 'methods.0.method' is missing"),
        ({"methods": [{"method": "eap", "ranking": "best"}]}, "should be 'absolute' or 'signed', not 'best'"),
        ({"edges": []}, "edges: "),
        ({"edges": ["5"]}, "asked for '5' edges; give 1 or more"),
        ({"heads": "5"}, "asked for '5' edges; give 1 or more"),
        ({"grid": {"threshold": [], "tau": [0.1]}}, "grid.threshold: "),
        ({"grid": {"threshold": [0.1], "tau": [-1.0]}}, "tau"),
        ({"grid": {"threshold": [0.1], "tau": [0.1]}, "reference": "none"}, "grid of thresholds needs a reference"),
        ({"pictures": ["pdf"]}, "should be 'svg' or 'png', not 'pdf'"),
        ({"task": "ioi", "data": "a.csv"}, "give a task or a file of data, not both"),
    ],
    ids=str,
)
def test_a_wrong_recipe_is_refused_in_one_sentence(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        CompareRecipe.of(**fields)
    (tmp_path / "recipe.json").write_text(json.dumps(fields))
    with pytest.raises((FileError, InvalidValue), match=message):
        CompareRecipe.read(tmp_path / "recipe.json")


def test_the_recipe_of_a_run_is_not_one_of_a_comparison(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"schema": "edgewise/recipe", "version": 1}')
    with pytest.raises(FileError, match="holds 'edgewise/recipe', not a recipe"):
        CompareRecipe.read(tmp_path / "recipe.json")


def test_sizes_are_numbers_and_shares() -> None:
    gpt2 = Graph(12, 12, 12)  # 32,491 edges: 0.001 % of them is less than one
    assert sizes_on(gpt2, ["1%", 325, 10, "0.001%", "50 %"]) == (1, 10, 325, 16246)


def test_options_begin_with_the_name_of_a_method() -> None:
    entries = [Entry(method="acdc"), Entry(method="exact", label="v1.5")]
    options = {"acdc.rule": "absolute", "acdc.values": [0.1], "acdc.metric": "logit_diff", "v1.5.ranking": "signed"}
    changed = CompareRecipe.of(methods=with_options(entries, options)).methods
    assert changed[0] == Entry(method="acdc", options={"rule": "absolute"}, values=[0.1], metric="logit_diff")
    assert changed[1].ranking == "signed"
    for wrong in ("rule", "eap.rule"):
        with pytest.raises(InvalidValue, match="does not name a compared method; write it as in acdc"):
            with_options(entries, {wrong: 1})


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "recipes").glob("*.json")), ids=lambda path: path.name)
def test_the_recipes_that_come_along_can_be_read(path: Path) -> None:
    recipe = CompareRecipe.read(path)
    with_baseline(recipe.methods, recipe.seed)
    names = (recipe.prompts, f"{recipe.model}-{recipe.prompts}", f"scorers-{recipe.prompts}")
    assert path.stem in (*names, f"pruned-{recipe.prompts}-{recipe.seed}")
