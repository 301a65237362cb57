"""Circuits of several sizes from one run, as many prompts as a method wants, and what the time went into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgewise import open as open_file
from edgewise.circuit import Circuit
from edgewise.comparison.compare_recipe import CompareRecipe
from edgewise.errors import InvalidValue
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run

QUICK: dict[str, Any] = {"examples": 8, "held_out": 4, "curve": 0}


def test_several_sizes_of_a_method_that_scores_are_cut_from_one_scoring(tmp_path: Path) -> None:
    found = run(Recipe.of(sizes=(48, 24), method="eap", **QUICK), tmp_path / "run")
    assert found.scores is not None
    assert found.sweep is not None
    assert [circuit.provenance["edges"]["selected"] for circuit in found.sweep.circuits] == [24, 48]
    assert found.circuit.edges == found.sweep.circuits[-1].edges == found.scores.top(48).without_dangling().edges
    names = [row["circuit"] for row in found.sweep_rows]
    assert names == ["circuit-24.json", "circuit-48.json"]
    for name, circuit in zip(names, found.sweep.circuits, strict=True):
        assert open_file(tmp_path / "run" / name) == circuit
    assert Recipe.read(tmp_path / "run" / "recipe.json") == found.recipe


def test_several_sizes_of_a_method_that_trains(tmp_path: Path) -> None:
    recipe = Recipe.of(sizes=(12, 30), method="hap", options={"steps": 6, "batch": 4}, **QUICK)
    found = run(recipe, tmp_path / "run")
    assert found.sweep is not None
    assert [len(circuit) for circuit in found.sweep.circuits] == [12, 30]
    assert isinstance(found.circuit, Circuit)
    assert len(found.circuit) == 30
    assert {"loading", "proposal", "training", "comparing", "evaluation"} <= found.spent.keys()
    assert sum(found.spent.values()) == pytest.approx(found.seconds)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))
    assert manifest["spent"].keys() == found.spent.keys()
    assert (tmp_path / "run" / "history-12.jsonl").is_file()


@pytest.mark.parametrize("sizes", [(24, 48, 30), (24, 24), (24,), (48, 48, 24)])
def test_sizes_that_neither_rise_nor_fall_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValue, match="several sizes must rise or fall, each given once"):
        Recipe.of(sizes=sizes)


def test_sizes_where_they_make_no_sense() -> None:
    with pytest.raises(InvalidValue, match="only one of them"):
        Recipe.of(sizes=(12, 24), edges=12)
    with pytest.raises(InvalidValue, match="acdc decides itself how many edges"):
        run(Recipe.of(sizes=(12, 24), method="acdc", **QUICK))
    with pytest.raises(InvalidValue, match="not both"):
        run(Recipe.of(sizes=(12, 24), method="hap", options={"sparsity": [0.9, 0.8]}, **QUICK))
    with pytest.raises(InvalidValue, match="asked for 100,000 edges"):
        run(Recipe.of(sizes=(12, 100_000), method="eap", **QUICK))


# -- as many prompts as the method wants ------------------------------------------------------------------------------


def test_training_sees_more_prompts_where_no_number_is_named() -> None:
    trained = Recipe.of(method="hap")
    assert trained.examples == 256
    assert Recipe.of(method="eap").examples is None
    assert Recipe.of(method="hap", examples=10).examples == 10
    assert Recipe.of(method="hap", data="rows.csv").examples is None
    # What was not named follows a change, what was named does not.
    assert trained.with_changes(method="eap").examples is None
    assert Recipe().with_changes(method="edge-pruning").examples == 256
    assert trained.with_changes(data="rows.csv").examples is None
    assert trained.with_changes(examples=10).with_changes(method="eap").examples == 10


def test_a_recipe_from_before_means_what_it_meant(tmp_path: Path) -> None:
    old = {**json.loads(Recipe.of(method="hap").to_json()), "examples": None}
    (tmp_path / "old.json").write_text(json.dumps(old), "utf-8")
    assert Recipe.read(tmp_path / "old.json").examples is None
    assert Recipe.read(tmp_path / "old.json").with_changes(seed=3).examples is None


def test_each_method_of_a_comparison_works_on_what_it_wants() -> None:
    recipe = CompareRecipe.of().with_changes(methods=["hap", "eap", {"method": "acdc", "examples": 5}])
    assert recipe.examples == 256
    assert [entry.examples for entry in recipe.methods] == [256, 64, 5]
    plain = CompareRecipe.of(methods=["eap", "acdc"])
    assert plain.examples is None
    assert [entry.examples for entry in plain.methods] == [None, None]
    assert recipe.with_changes(methods=["eap"]).examples is None
    of_a_file = recipe.with_changes(data="rows.csv")
    assert of_a_file.examples is None
    assert [entry.examples for entry in of_a_file.methods] == [None, None, 5]
