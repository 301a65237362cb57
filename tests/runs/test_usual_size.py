"""How large a circuit is where nobody says it: what keeps 85 % on prompts it was not found on, else a tenth of all edges."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.command_line import edgewise

import edgewise as ew
from edgewise.errors import InvalidValue
from edgewise.runs.cutting import cut
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run
from edgewise.viewer.missing import repeat

QUICK: dict[str, Any] = {"examples": 8, "held_out": 6}
A_TENTH = 48  # of nano's 479 edges


def selected(circuit: ew.Circuit) -> int:
    return circuit.provenance["edges"]["selected"]


def test_it_is_the_smallest_of_the_sizes_tried_that_keeps_enough_and_the_curve_has_them_all(tmp_path: Path) -> None:
    found = run(Recipe.of(**QUICK), tmp_path / "run")
    chosen = found.circuit.provenance["selection"]
    assert (chosen["faithfulness"], chosen["metric"]) == (0.85, "logit_diff")
    tried = {one["size"]: one["faithfulness"] for one in chosen["tried"]}
    assert selected(found.circuit) == min(size for size in tried if tried[size] >= 0.85)
    assert found.report["logit_diff"].faithfulness == pytest.approx(tried[selected(found.circuit)], abs=1e-4)
    assert found.curve is not None
    assert {point.edges: point.faithfulness for point in found.curve.points if 0 < point.edges < 479} == tried
    assert sum(point.random is not None for point in found.curve.points[1:-1]) == 6
    assert cut(tmp_path / "run").selected == selected(found.circuit)
    assert Recipe.read(tmp_path / "run" / "recipe.json") == found.recipe == Recipe.of(**QUICK)


def test_without_a_curve_it_is_the_same_size_or_one_nearby() -> None:
    kept = run(Recipe.of(**QUICK, curve=0)).report["logit_diff"].faithfulness
    assert 0.85 <= kept < 1


@pytest.mark.parametrize(
    "asked",
    [
        {"edges": 20},
        {"nodes": 3},
        {"neurons": 50},
        {"sizes": (12, 24)},
        {"method": "eap+acdc", "options": {"tau": [0.3, 0.1]}},
        {"method": "eap+acdc", "options": {"tau": 0.3}},
        {"method": "hap", "options": {"steps": 4}},
    ],
)
def test_a_size_that_is_asked_for_or_follows_from_the_method_stays(asked: dict[str, Any]) -> None:
    found = run(Recipe.of(**asked, **QUICK, curve=0))
    assert "tried" not in found.circuit.provenance.get("selection", {})
    if "edges" in asked:
        assert selected(found.circuit) == asked["edges"]
    if asked.get("method") == "hap":
        assert len(found.circuit) == A_TENTH


def test_where_no_size_keeps_so_much_it_is_a_tenth_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewise.runs.asked_sizes.USUAL_FAITHFULNESS", 1.0)  # of KL: what only all edges keep
    asked = ["--method", "random", "--metric", "kl", "--examples", "6", "--held-out", "6", "--curve", "2"]
    result = edgewise("discover", *asked, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    told = " ".join(result.stdout.split())
    assert re.search(r"size a tenth of all, since none of the \d+ sizes tried keeps 1 of kl: the best, ", told), told
    assert f"edges {A_TENTH} selected by absolute score" in told
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["selection"]["otherwise"].startswith("none of the ")
    with pytest.raises(InvalidValue, match=r"none of the \d+ sizes tried keeps 1 of kl"):
        run(Recipe.read(tmp_path / "run" / "recipe.json").with_changes(faithfulness=1.0))


def test_a_recipe_from_before_takes_a_tenth_still_and_the_command_that_repeats_it_says_so() -> None:
    before = {**Recipe.of(**QUICK, curve=0).model_dump(), "faithfulness": None}
    assert selected(run(Recipe.of(**before)).circuit) == A_TENTH
    assert " --edges 10% " in str(repeat(before))
    now = str(repeat(Recipe.of(**QUICK).model_dump()))
    assert "--edges" not in now
    assert "--faithfulness" not in now
    assert "--edges" not in str(repeat({**before, "method": "acdc"}))


def test_what_is_no_share_is_refused() -> None:
    for wrong in ("most", 0, 1.2, True):
        with pytest.raises(InvalidValue, match="faithfulness"):
            Recipe.of(faithfulness=wrong)
