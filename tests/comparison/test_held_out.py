"""Circuits judged on pairs that no method has seen, exact effects of a sample of edges, searches on fewer pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from support.command_line import make_model
from support.families import pairs, subject

import edgewise as ew
from edgewise.comparison import CompareRecipe
from edgewise.comparison.from_recipe import Finished, run_comparison
from edgewise.comparison.sample import drawn
from edgewise.errors import InvalidValue, TaskError
from edgewise.runs.source import open_source

METHODS: list[Any] = ["eap", {"method": "acdc", "values": [0.1], "examples": 2}]
RECIPE: dict[str, Any] = {"examples": 4, "methods": METHODS, "reference": "none", "edges": [12], "pictures": []}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    recipe = CompareRecipe.of(model=str(tiny), held_out=6, exact_sample=20, areas="none", **RECIPE)
    return run_comparison(recipe, tmp_path_factory.mktemp("compared") / "run")


def test_circuits_are_found_on_some_pairs_and_measured_on_others() -> None:
    on, of = subject("gpt2"), pairs()
    found_on, judged = of[:3], of[3:]
    held = ew.compare(on, found_on, methods=["eap"], reference="none", edges=[12], held_out=judged)
    scores = ew.attribute(on, found_on, method="eap")
    expected = ew.evaluate(on, scores.top(12), judged, random=None)["logit_diff"]
    assert torch.equal(held["eap"].scores.values, scores.values)
    assert held["eap"].curve[0].metrics["logit_diff"] == pytest.approx(expected.circuit, abs=1e-5)
    assert held.ends["logit_diff"].clean == pytest.approx(expected.clean, abs=1e-5)
    on_its_own = ew.compare(on, found_on, methods=["eap"], reference="none", edges=[12])
    assert on_its_own["eap"].curve[0].metrics["logit_diff"] != pytest.approx(expected.circuit, abs=1e-3)
    assert held.facts["data"]["judged_on"]["sha256"] == judged.fingerprint
    assert "Measured on 2 held-out pairs, found on 3 others" in str(held)
    assert "Measured on the 3 pairs they were found on" in str(on_its_own)


def test_a_recipe_draws_pairs_apart_from_those_found_on(tiny: Path) -> None:
    source = open_source(CompareRecipe.of(model=str(tiny), held_out=40, **RECIPE))
    tokenizer = ew.load(tiny).tokenizer
    found_on = source.pairs(tokenizer)
    held, again = source.held_out(tokenizer, found_on), source.held_out(tokenizer, found_on)
    assert held is not None
    assert again is not None
    assert len(held) == 40
    assert not {clean for clean, _ in held.texts} & {clean for clean, _ in found_on.texts}
    assert again.fingerprint == held.fingerprint
    assert held.source["held_out"] is True


def test_circuits_are_measured_on_the_pairs_they_were_found_on_too(finished: Finished) -> None:
    compared = finished.comparison
    for result in compared.results:
        for point in result.curve:
            assert point.found_on is not None
            assert point.overfitting == pytest.approx(point.metrics["kl"] / point.found_on["kl"])
    assert "Overfitting" in str(compared)
    subject, recipe = ew.load(finished.recipe.model), finished.recipe
    found_on = open_source(recipe).pairs(subject.tokenizer)
    expected = ew.evaluate(subject, compared.circuit("eap", 12), found_on, metrics=["kl"], random=None)["kl"].circuit
    assert compared["eap"].curve[0].found_on["kl"] == pytest.approx(expected, abs=1e-5)


def test_rows_of_a_file_are_held_out_unless_their_prompt_was_found_on(tiny: Path, tmp_path: Path) -> None:
    tokenizer = ew.load(tiny).tokenizer
    texts = ew.task("ioi").pairs(tokenizer, n=3).texts
    rows = [*texts, texts[0]]
    lines = ["clean,corrupted,correct,wrong", *(f'"{clean}","{corrupted}", Mary, John' for clean, corrupted in rows)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    fields = {**RECIPE, "data": str(tmp_path / "pairs.csv"), "examples": 1, "held_out": 5, "split": 0}
    source = open_source(CompareRecipe.of(model=str(tiny), **fields))
    held = source.held_out(tokenizer, source.pairs(tokenizer))
    assert held is not None
    assert [clean for clean, _ in held.texts] == [clean for clean, _ in texts[1:]]
    everything = open_source(CompareRecipe.of(model=str(tiny), **{**fields, "examples": 4}))
    with pytest.raises(InvalidValue, match="no row is left to hold out"):
        everything.held_out(tokenizer, everything.pairs(tokenizer))


def test_a_task_that_runs_out_of_prompts_says_so() -> None:
    tokenizer, task = ew.load("reverse").tokenizer, ew.task("reverse")
    found_on = task.pairs(tokenizer, n=2000)  # nearly all of the few hundred prompts that there are
    with pytest.raises(
        TaskError,
        match="has only 360 different prompts with this tokenizer, 29 of them beside those that circuits are found on",
    ):
        task.pairs(tokenizer, n=400, apart_from=found_on)


def test_a_sample_of_edges_is_patched_as_exact_patches_them() -> None:
    on, of = subject("llama"), pairs()
    exact = ew.attribute(on, of, method="exact")
    edges = drawn(on.graph, 30, seed=3)
    assert len(set(edges)) == 30
    effects = ew.effects(on, of, edges, batch_size=2)
    assert list(effects) == list(edges)
    for edge, effect in effects.items():
        assert effect == pytest.approx(exact[edge], abs=1e-5)
    with pytest.raises(InvalidValue, match="asked for a sample of"):
        drawn(on.graph, on.graph.n_edges + 1, seed=0)


def test_agreement_with_a_sample_is_that_of_its_edges() -> None:
    on, of = subject("gpt2"), pairs()
    methods: list[Any] = ["eap", {"method": "acdc", "values": [0.1, 0.01]}]
    compared = ew.compare(on, of, methods=methods, reference="none", edges=[12], exact_sample=40)
    assert compared.sample is not None
    edges, effects = compared.sample.edges, compared.sample.effects
    mine = compared["eap"].agreement
    assert mine is not None
    scores = [compared["eap"].scores[edge] for edge in edges]
    assert mine["spearman"] == pytest.approx(spearmanr(scores, effects).statistic, abs=1e-6)
    sizes = ([abs(x) for x in side] for side in (scores, effects))
    assert mine["spearman_absolute"] == pytest.approx(spearmanr(*sizes).statistic, abs=1e-6)
    assert mine["pearson"] == pytest.approx(pearsonr(scores, effects).statistic, abs=1e-6)
    search = compared["acdc"].agreement
    assert search is not None
    assert search["spearman"] is search["pearson"] is None
    assert search["spearman_absolute"] is not None
    assert "Agreement with exact effects of a sample of edges" in str(compared)


def test_a_method_may_work_on_the_first_pairs_alone() -> None:
    on, of = subject("gpt2"), pairs()
    methods: list[Any] = [{"method": "acdc", "values": [0.1], "examples": 2}, {"method": "eap", "examples": 2}]
    compared = ew.compare(on, of, methods=methods, reference="none", edges=[12])
    assert compared["acdc"].outcome.circuits == ew.sweep(on, of[:2], method="acdc", values=[0.1]).circuits
    assert torch.equal(compared["eap"].scores.values, ew.attribute(on, of[:2], method="eap").values)


def test_the_folder_holds_all_of_it_and_goes_on_from_there(finished: Finished, tiny: Path) -> None:
    assert finished.folder is not None
    assert (finished.folder / "sample.json").is_file()
    table = (finished.folder / "table.md").read_text()
    assert "Circuits are measured on 6 held-out pairs, found on 4 others" in table
    assert "Areas under faithfulness" not in table
    recipe = CompareRecipe.read(finished.folder / "recipe.json")
    assert (recipe.held_out, recipe.exact_sample, recipe.methods[1].examples) == (6, 20, 2)
    again = run_comparison(recipe, finished.folder)
    assert again.comparison.sample == finished.comparison.sample
    assert again.comparison.to_dict()["results"][0]["curve"] == finished.comparison.to_dict()["results"][0]["curve"]
