"""Scores of a run are cut again, and a run asks for what to keep instead of a size."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.command_line import make_model

import edgewise as ew
from edgewise.errors import FileError, InvalidValue
from edgewise.methods import METHODS
from edgewise.pruning import PRUNINGS
from edgewise.runs.cutting import cut
from edgewise.runs.from_file import check, cut_to_keep
from edgewise.runs.job import prepare
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import Run, run
from edgewise.runs.source import open_source
from edgewise.search import SEARCHES

FEW: dict[str, Any] = {"method": "eap-ig", "examples": 6, "held_out": 5, "metric": "kl", "curve": 2}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def kept(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(Recipe.of(model=tiny, faithfulness=0.8, **FEW), tmp_path_factory.mktemp("runs") / "run")


def test_a_run_keeps_the_share_on_pairs_it_has_not_seen(kept: Run, tiny: str) -> None:
    assert kept.folder is not None
    assert kept.scores is not None
    subject, source = ew.load(tiny), open_source(kept.recipe)
    held_out = source.held_out(subject.tokenizer, source.pairs(subject.tokenizer))
    assert held_out is not None
    expected = ew.select(subject, kept.scores, held_out, faithfulness=0.8, metric="kl")
    assert kept.circuit == expected
    assert kept.report["kl"].faithfulness >= 0.8
    told = json.loads((kept.folder / "report.json").read_text())["selection"]
    assert told == kept.circuit.provenance["selection"] == expected.provenance["selection"]
    page = (kept.folder / "circuit.html").read_text()
    assert f"the smallest of {len(told['tried'])} sizes tried that keeps 0.8 of kl" in page


def test_its_recipe_comes_back_and_one_without_the_field_means_what_it_meant(kept: Run, tmp_path: Path) -> None:
    assert kept.folder is not None
    assert Recipe.read(kept.folder / "recipe.json") == kept.recipe
    assert Recipe.read(kept.folder / "manifest.json").faithfulness == 0.8
    old = json.loads((kept.folder / "recipe.json").read_text())
    del old["faithfulness"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert Recipe.read(tmp_path / "old.json").faithfulness is None


@pytest.mark.parametrize("share", [0, 1.2, -1, float("nan"), "0.9", True])
def test_a_recipe_refuses_what_is_no_share(share: Any) -> None:
    with pytest.raises(InvalidValue, match="give the share of the behaviour to keep, above 0 and at most 1"):
        Recipe.of(faithfulness=share)


@pytest.mark.parametrize("size", [{"edges": 3}, {"edges": "10%"}, {"sizes": (3, 5)}, {"nodes": 3}, {"neurons": 3}])
def test_a_recipe_refuses_a_size_beside_it(size: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="give a size, or the faithfulness to keep, not both"):
        Recipe.of(faithfulness=0.9, **size)


def test_methods_that_score_take_it_and_all_others_refuse_it() -> None:
    for name in METHODS.keys() - SEARCHES.keys() - PRUNINGS.keys():
        assert prepare(Recipe.of(method=name, faithfulness=0.9)).recipe.faithfulness == 0.9
    for name in (*SEARCHES, *PRUNINGS):
        with pytest.raises(InvalidValue, match=re.escape(f"{name} decides itself which edges it keeps")):
            prepare(Recipe.of(method=name, faithfulness=0.9))
    with pytest.raises(InvalidValue, match="acdc decides itself"):
        prepare(Recipe.of(method="acdc", faithfulness=0.9, options={"tau": [0.1, 0.2]}))


# -- cutting again ----------------------------------------------------------------------------------------------------


def test_a_cut_is_what_the_run_would_have_found_and_its_recipe_says_how(kept: Run, tiny: str) -> None:
    assert kept.folder is not None
    assert kept.scores is not None
    for file in (kept.folder, kept.folder / "scores.safetensors"):
        found = cut(file, edges="20%", ranking="signed")
        assert found.circuit == kept.scores.top("20%", absolute=False).without_dangling()
        again = Recipe.of(**found.circuit.provenance["recipe"])
        assert (again.edges, again.faithfulness, again.ranking) == (found.selected, None, "signed")
    assert run(again).circuit == found.circuit


def test_without_a_size_it_is_as_large_as_the_circuit_of_the_run(kept: Run) -> None:
    assert kept.folder is not None
    assert cut(kept.folder, ranking="signed").selected == kept.selected
    assert cut(kept.folder).circuit == kept.circuit


def test_to_keep_as_much_finds_what_the_run_found(kept: Run) -> None:
    assert kept.folder is not None
    found = cut_to_keep(kept.folder / "scores.safetensors", 0.8, {})
    assert found.circuit == kept.circuit
    assert found.circuit.provenance["recipe"] == kept.circuit.provenance["recipe"]
    on_others = cut_to_keep(kept.folder, 0.8, {"seed": 5, "metric": "logit_diff"}, ranking="signed")
    chosen = on_others.circuit.provenance["selection"]
    assert (chosen["metric"], chosen["absolute"]) == ("logit_diff", False)


def test_the_curve_of_the_run_says_what_a_cut_keeps(kept: Run) -> None:
    assert kept.folder is not None
    assert kept.curve is not None
    none, low, next_one, *_, high, whole = kept.curve.points
    assert cut(kept.folder, edges=low.edges).measured == (low,)
    assert cut(kept.folder, edges=low.edges + 1).measured == (low, next_one)
    assert cut(kept.folder, edges=high.edges + 1).measured == (high, whole)
    assert none.edges == 0
    assert cut(kept.folder, edges=low.edges, ranking="signed").measured == ()


def test_scores_are_evaluated_at_a_size(kept: Run) -> None:
    assert kept.folder is not None
    assert kept.scores is not None
    circuit, report = check(kept.folder / "scores.safetensors", {}, edges=12)
    assert circuit == kept.scores.top(12).without_dangling()
    assert (report.held_out, report.examples) == (True, 5)


def test_what_has_no_scores_cannot_be_cut(kept: Run) -> None:
    assert kept.folder is not None
    with pytest.raises(FileError, match="holds no scores to cut"):
        cut(kept.folder / "circuit.json", edges=5)
    with pytest.raises(InvalidValue, match="asked for 100,000 edges, but the graph has"):
        cut(kept.folder, edges=100_000)
