"""The tables of benchmarks.tables, from two small documents whose ranks are counted by hand."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.tables import figure_rows, markdown, mean_ranks, summary_rows

from edgewise.comparison import CompareRecipe

RECIPES = Path(__file__).parents[1] / "benchmarks/recipes"


def document(task, **methods):
    """A comparison with, for each method, CPR, CMD, AUROC, ρ and seconds."""
    results = [
        {
            "name": name,
            "areas": {"cpr": cpr, "cmd": cmd, "auroc": auroc},
            "agreement": None if rho is None else {"spearman_absolute": rho},
            "seconds": seconds,
        }
        for name, (cpr, cmd, auroc, rho, seconds) in methods.items()
    ]
    return {"model": {"model": "nano"}, "data": {"task": task}, "results": results}


DOCUMENTS = [
    document("ioi", eap=(0.5, 0.1, 0.9, 0.8, 1.0), relp=(0.7, 0.1, 0.8, 0.7, 2.0), exact=(1.0, 0.0, 1.0, None, 9.0)),
    document("docstring", eap=(0.6, 0.3, 0.9, 0.8, 2.0), relp=(0.4, 0.2, 0.7, 0.9, 3.0), exact=(1, 0, 1, None, 9.0)),
]


def test_equal_figures_share_their_places_and_bounds_are_not_ranked():
    # CMD: on ioi both 0.1, so both at 1.5; on docstring relp's 0.2 is the smaller, so it is first.
    assert mean_ranks(DOCUMENTS, "CMD ↓") == {"eap": 1.75, "relp": 1.25}
    assert mean_ranks(DOCUMENTS, "CPR ↑") == {"eap": 1.5, "relp": 1.5}


def test_rows_hold_the_figures_of_every_document():
    rows = figure_rows(DOCUMENTS, ("AUROC ↑", "ρ ↑"))
    assert rows == [
        ("`eap`", "0.90 · 0.80", "0.90 · 0.80"),
        ("`relp`", "0.80 · 0.70", "0.70 · 0.90"),
        ("`exact`", "1.00 · –", "1.00 · –"),
    ]


def test_the_summary_has_the_best_mean_rank_first_and_times_as_multiples():
    # Sums of mean ranks: eap 1.5 + 1.75 + 1 + 1.5 = 5.75; relp 1.5 + 1.25 + 2 + 1.5 = 6.25. relp's times: 2 and 1.5.
    assert summary_rows(DOCUMENTS) == [
        ("`eap`", "1.5", "1.8", "1.0", "1.5", "1.0"),
        ("`relp`", "1.5", "1.2", "2.0", "1.5", "1.8"),
    ]


def test_the_command_prints_markdown(tmp_path):
    for one in DOCUMENTS:
        folder = tmp_path / one["data"]["task"]
        folder.mkdir()
        (folder / "comparison.json").write_text(json.dumps(one), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.tables", str(tmp_path / "ioi"), str(tmp_path / "docstring")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("| method | nano, ioi | nano, docstring |\n| --- | --- | --- |\n| `eap` | 0.50 · 0.10 |")
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_scorers_recipes_compare_the_same_methods_in_the_same_way():
    recipes = {path.stem: CompareRecipe.read(path) for path in sorted(RECIPES.glob("scorers-*.json"))}
    assert len(recipes) == 7
    assert len({json.dumps([entry.model_dump() for entry in recipe.methods]) for recipe in recipes.values()}) == 1
    assert {(recipe.examples, recipe.seed, recipe.batch_size) for recipe in recipes.values()} == {(64, 0, 16)}
