"""A dry run of a comparison: what it says, of every part that is not done, and that it writes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.command_line import edgewise, refused

from edgewise.comparison.compare_recipe import CompareRecipe
from edgewise.comparison.estimate import estimate_comparison
from edgewise.comparison.from_recipe import run_comparison
from edgewise.errors import FileError, InvalidValue
from edgewise.runs import dry_run as module

FEW: dict[str, Any] = {"examples": 6, "held_out": 6, "batch_size": 2, "edges": [10, 20], "pictures": []}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loop is left after its first step."""
    monkeypatch.setattr(module, "SECONDS_WATCHED", 0.0)


def few(**changes: Any) -> CompareRecipe:
    return CompareRecipe.of(**{**FEW, "methods": ["eap"], "reference": "none", **changes})


def steps(recipe: CompareRecipe) -> dict[str, list[tuple[str, int]]]:
    """The steps of each loop of each part, by the words of its label."""
    parts = estimate_comparison(recipe).parts
    return {part.name: [(re.sub(r" \d+ ", " ", one.label), one.steps) for one in part.stages] for part in parts}


def test_each_method_is_told_with_what_measuring_it_takes() -> None:
    found = estimate_comparison(few(methods=["eap", "acdc"], reference="exact:1%"))
    assert [part.name for part in found.parts] == ["exact effects", "eap", "acdc", "random"]
    assert (found.edges, found.examples, found.held_out) == (479, 6, 6)
    assert all(part.memory > 0 and part.seconds > 0 and part.untold == "" for part in found.parts)
    steps = {stage.label: stage.steps for stage in found.parts[1].stages}
    assert steps["scoring edges (eap)"] == 3
    assert steps["evaluating 2 circuits"] == 2 * 3  # on the pairs held out, and on those they were found on
    assert found.seconds > sum(part.seconds for part in found.parts)


def test_its_steps_are_those_of_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = few(methods=["eap-ig"], exact_sample=5, heads=10, areas="none")
    left = steps(recipe)
    monkeypatch.setattr(module, "SECONDS_WATCHED", 1e9)
    whole = steps(recipe)
    # How many heads there are to take out is known only of a circuit that was really found.
    (label, fewer), (same, more) = left["eap-ig"].pop(), whole["eap-ig"].pop()
    assert label == same == "taking heads out of eap-ig"
    assert min(fewer, more) > 1
    assert left == whole
    assert list(left) == ["eap-ig", "random", "for all methods"]
    assert left["for all methods"] == [("patching edges one by one", 15)]


@pytest.mark.parametrize("how", [{}, {"areas": "none"}, {"reference": "exact:1%"}, {"exact_sample": 5}])
def test_what_is_done_is_not_told_again(tmp_path: Path, how: dict[str, Any]) -> None:
    recipe, folder = few(**how), tmp_path / "one"
    assert {"eap", "random"} <= {part.name for part in estimate_comparison(recipe, folder).parts}
    assert not folder.exists()
    run_comparison(recipe, folder)
    assert estimate_comparison(recipe, folder).parts == ()
    with pytest.raises(FileError, match="holds a comparison of another recipe"):
        estimate_comparison(few(examples=4), folder)


def test_heads_are_studied_each_time(tmp_path: Path) -> None:
    recipe = few(heads=10)
    run_comparison(recipe, tmp_path / "one")
    (left,) = estimate_comparison(recipe, tmp_path / "one").parts
    assert left.name == "eap"
    assert [stage.label.partition(" ")[0] for stage in left.stages] == ["taking"]


def test_what_the_comparison_would_refuse_is_refused() -> None:
    with pytest.raises(InvalidValue, match="scores every edge at once, so it takes no values"):
        estimate_comparison(few(methods=[{"method": "eap", "values": [1, 2]}]))


def test_the_command_prints_it_and_writes_nothing(tmp_path: Path) -> None:
    recipe, out = tmp_path / "few.json", tmp_path / "run"
    recipe.write_text(json.dumps({**FEW, "methods": ["eap", "hisp"], "reference": "none"}))
    shown = edgewise("compare", "--recipe", recipe, "--out", out, "--dry-run").stdout
    assert "hisp" in shown
    assert "6 pairs of ioi, 6 held out" in shown
    assert "files     none: this was a dry run" in shown
    told = json.loads(edgewise("compare", "--recipe", recipe, "--out", out, "--dry-run", "--json").stdout)
    assert [part["name"] for part in told["parts"]] == ["eap", "hisp", "random"]
    assert not out.exists()
    refused(edgewise("compare", "--methods", "nonesuch", "--dry-run"), message="nonesuch")
