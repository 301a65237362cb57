"""The tables of benchmarks.tables, from two small documents whose ranks are counted by hand."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import highlights, results
from benchmarks.pruned import pruned_part
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


def kept():
    """What `keep` leaves of a comparison of two scorers and a search, with numbers that are easy to find again."""

    def point(edges, kl):
        metrics = {"logit_diff": 1.0, "kl": kl, "accuracy": 0.75}
        return {
            "edges": edges,
            "live_edges": edges,
            "metrics": metrics,
            "faithfulness": {"logit_diff": -0.5, "kl": None},
        }

    found = {"options": {}, "metric": "logit_diff", "manner": "", "work": "", "agreement": None}
    better = {**found, "name": "relp", "method": "relp", "dial": None}
    agreeing = {"agreement": {"spearman": 0.5, "spearman_absolute": 0.25, "pearson": None}}
    worse = {**better, "name": "eap", "curve": [point(10, 2.0), point(20, 1.0)], **agreeing}
    better = {**better, "curve": [point(10, 3.0), point(20, 0.5)]}
    search = {**found, "name": "acdc", "method": "acdc", "dial": "tau", "curve": [point(7, 1.25)]}
    search |= {"work": "12 tested"}
    return {
        "model": {"model": "smollm2"},
        "data": {"task": "ioi", "examples": 64, "judged_on": {"examples": 128}},
        "metric": "logit_diff",
        "ablation": "corrupted",
        "versions": {"edgewise": "0.1.0", "torch": "2.13.0"},
        "total_edges": 70651,
        "sizes": [10, 20],
        "ends": {"logit_diff": {"clean": 4.5, "corrupted": -0.25}},
        "results": [worse, better, search],
        "sample": {"edges": ["input->logits"], "effects": [1.0]},
        "machine": "a processor, 2 cores",
        "finished": "2026-11-28T01:00:00+00:00",
        "recipe": {"seed": 0, "methods": [{"label": None, "method": "acdc", "examples": 16}]},
    }


def test_a_section_has_every_method_at_every_size_with_the_best_in_bold():
    section = results.section(kept())
    assert "| `eap` | **2.00** · −0.50 · 0.75 | 1.00 · −0.50 · 0.75 |" in section
    assert "| `relp` | 3.00 · −0.50 · 0.75 | **0.50** · −0.50 · 0.75 |" in section
    assert "| `acdc` | 7 | 1.25 · −0.50 · 0.75 | 16 | 12 tested |" in section
    assert "| `eap` | 0.50 | 0.25 | – |" in section
    assert "Found on 64 pairs (seed 0), measured on 128 held-out pairs; 70,651 edges" in section


def test_the_page_and_the_readme_say_what_the_kept_documents_say():
    documents = results.kept()
    assert len(documents) >= 4
    pruned = results.kept(results.KEPT / results.PRUNED)
    assert results.PAGE.read_text("utf-8") == results.page(documents, pruned)
    readme = results.README.read_text("utf-8")
    assert results.with_highlights(readme, documents, pruned) == readme


def test_the_summary_has_scores_at_three_sizes_and_the_circuits_of_searches(monkeypatch):
    monkeypatch.setattr(highlights, "GLANCE_SIZES", (10, 20))
    header, rows = highlights.summary([kept()])
    assert header == ("KL ↓", "ioi")
    assert rows == [("`eap`", "2.00 · 1.00"), ("`relp`", "3.00 · 0.50"), ("`acdc`", "1.25 (7)")]


def seed_of(seed, **kls):
    """What was measured with one seed: for each method its KL held out and found on at 300 edges, and its seconds."""
    results = [
        {
            "name": name,
            "curve": [{"edges": 300, "metrics": {"kl": held}, "found_on": {"kl": found}}],
            "seconds": seconds,
            "first_size": {"edges": 900, "seconds": seconds / 2},
        }
        for name, (held, found, seconds) in kls.items()
    ]
    head = {"model": {"model": "smollm2"}, "data": {"task": "ioi"}, "recipe": {"seed": seed}, "machine": "a machine"}
    return {**head, "sizes": [300, 900], "results": results}


def test_the_section_on_pruning_has_medians_and_ranges():
    part = pruned_part(
        [seed_of(41, hap=(0.5, 0.4, 60.0)), seed_of(42, hap=(0.3, 0.3, 80.0)), seed_of(43, hap=(0.4, 0.2, 61.0))]
    )
    assert "seeds 41, 42, 43 (a machine)" in part
    # 0.5 / 0.4, 0.3 / 0.3 and 0.4 / 0.2: 1.25 in the middle. No circuit is near 900 edges.
    row = next(line for line in part.splitlines() if "`hap`" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "`hap`",
        "0.40 (0.30-0.50) [1.25 ×]",
        "–",
        "61 (60-80)",
        "30 (30-40)",
    ]
    assert pruned_part([]) == ""


def test_a_search_that_is_near_no_size_shows_its_sizes():
    document = seed_of(41, acdc=(0.5, 0.4, 60.0))
    document["results"][0]["curve"][0]["edges"] = 64
    del document["results"][0]["first_size"]
    part = pruned_part([document])
    assert "seed 41 (a machine)" in part
    assert "`acdc` (64 edges) | – | – | 60 | – |" in part


def test_the_readme_has_medians_over_seeds_and_sentences_that_count_tasks(monkeypatch):
    monkeypatch.setattr(highlights, "SIZES", (10,))
    best, linear = kept(), kept()
    for document, kl in ((best, 1.0), (linear, 4.0)):
        default = {**document["results"][1], "name": "eap-ig", "curve": [{"edges": 10, "metrics": {"kl": kl}}]}
        document["results"] = [document["results"][0], default]
    monkeypatch.setattr(highlights, "COLUMNS", ("hap",))
    seeds = [seed_of(seed, hap=(kl, kl, 1.0)) for seed, kl in ((41, 0.5), (42, 0.3), (43, 0.4))]
    for document in seeds:
        document["results"][0]["curve"][0]["edges"] = 10
    told = highlights.highlights([best, linear], seeds)
    assert "|  | `hap` |" in told
    assert "| ioi, 10 edges (3 seeds) | 0.40 (0.30-0.50) |" in told
    assert "`eap-ig` keeps most of the model at 10 edges on 1 of 2 tasks" in told
    assert "(ρ 0.50 to 0.50), and yet its 10 edges keep less than those of `eap-ig` on 1 of 2 tasks" in told
