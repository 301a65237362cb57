"""Scores of one's own in a comparison: as values, as files, from the command line, beside methods that are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import edgewise
from support.families import pairs, random_circuit, subject

import edgewise as ew
from edgewise.comparison import CompareRecipe, Entry
from edgewise.comparison.entry import LONGEST_LABEL
from edgewise.comparison.from_recipe import run_comparison
from edgewise.errors import EdgewiseError, FileError, GraphMismatch, InvalidValue


def own() -> ew.Scores:
    """Scores that no method of edgewise gives."""
    graph = subject("gpt2").graph
    chance = torch.randn(graph.edge_mask.shape, generator=torch.Generator().manual_seed(4))
    return ew.Scores(graph, chance * graph.edge_mask)


def test_given_scores_are_measured_as_those_of_a_method(tmp_path: Path) -> None:
    # Given scores by eap, once as a value and once in a file,
    on, truth = subject("gpt2"), random_circuit(subject("gpt2"), 0.2, seed=3)
    scores = ew.attribute(on, pairs(), method="eap")
    path = ew.save(scores, tmp_path / "mine.safetensors")
    # when they stand beside eap itself,
    methods: list[Any] = [
        "eap",
        scores,
        path,
        f"another={path}",
        {"scores": scores, "label": "signed", "ranking": "signed"},
    ]
    found = ew.compare(on, pairs(), methods=[str(one) if isinstance(one, Path) else one for one in methods],
                       reference=truth, edges=[12, 40])  # fmt: skip
    # then everything measured is the same, under names that tell them apart, and none was run.
    assert [one.name for one in found.results] == ["eap", "eap (given)", "mine", "another", "signed", "random"]
    for name in ("eap (given)", "mine", "another"):
        given, method = found[name], found["eap"]
        assert (given.curve, given.recovery) == (method.curve, method.recovery)
        assert torch.equal(given.scores.values, method.scores.values)
        assert given.outcome.seconds == 0
        assert given.outcome.cost == "given"
    assert found.circuit("signed", 12) == scores.top(12, absolute=False)
    assert "another" in str(found)


def test_scores_without_a_method_have_a_name_all_the_same() -> None:
    assert Entry.of(scores=own()).name == "scores (given)"
    assert Entry.of(scores="runs/a/scores.safetensors").name == "a"
    assert Entry.of(scores="theirs.json").name == "theirs"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"scores": "nowhere.safetensors"}, "no such file"),
        ({"scores": own, "method": "eap"}, "scores that are given take neither a method nor options"),
        ({"scores": own, "options": {"steps": 3}}, "scores that are given take neither a method nor options"),
        ({"scores": 3}, "must be Scores or a file with scores"),
        ("given", "unknown method 'given'"),
    ],
    ids=("no file", "with a method", "with options", "a number", "a name"),
)
def test_what_cannot_be_compared_is_refused(entry: Any, message: str) -> None:
    if isinstance(entry, dict) and callable(entry["scores"]):
        entry = {**entry, "scores": entry["scores"]()}
    with pytest.raises(EdgewiseError, match=message):
        ew.compare(subject("gpt2"), pairs(), methods=[entry], reference="none", edges=[12])


def test_scores_of_something_else_are_refused(tmp_path: Path) -> None:
    on = subject("gpt2")
    other = ew.Scores(subject("llama").graph, torch.zeros(subject("llama").graph.edge_mask.shape))
    circuit = ew.save(random_circuit(on, 0.2, seed=1), tmp_path / "circuit.json")
    nodes = own().of_nodes
    for wrong, error in ((other, GraphMismatch), (str(circuit), FileError), (nodes, FileError)):
        with pytest.raises(error):
            ew.compare(on, pairs(), methods=[wrong], reference="none", edges=[12])
    with pytest.raises(InvalidValue, match=r"two methods are called 'scores \(given\)'"):
        ew.compare(on, pairs(), methods=[own(), own()], reference="none", edges=[12])


def test_a_recipe_names_files_and_their_scores_stay_those_that_were_compared(tmp_path: Path) -> None:
    # Given a comparison of a file of scores,
    graph = ew.load("nano").graph
    path = tmp_path / "mine.safetensors"
    ew.save(ew.Scores(graph, torch.ones(graph.edge_mask.shape) * graph.edge_mask), path)
    fields: dict[str, Any] = {
        "examples": 4,
        "held_out": 0,
        "edges": [12],
        "areas": "none",
        "pictures": [],
        "reference": "none",
    }
    recipe = CompareRecipe.of(methods=["eap", f"mine={path}"], **fields)
    first = run_comparison(recipe, tmp_path / "run")
    assert [one.name for one in first.comparison.results] == ["eap", "mine", "random"]
    assert CompareRecipe.read(tmp_path / "run" / "recipe.json") == recipe
    # when it is asked for again, it goes on;
    again = run_comparison(recipe, tmp_path / "run").comparison
    assert again["mine"].curve == first.comparison["mine"].curve
    # once the file holds others, it is refused.
    ew.save(ew.Scores(graph, torch.rand(graph.edge_mask.shape) * graph.edge_mask), path)
    with pytest.raises(FileError, match="was made with other scores than"):
        run_comparison(recipe, tmp_path / "run")


@pytest.mark.slow
def test_a_recipe_holds_no_values() -> None:
    with pytest.raises(InvalidValue, match=r"a recipe names files: save the scores of 'mine'"):
        CompareRecipe.of(methods=["eap", {"scores": own(), "label": "mine"}])
    long = ew.Scores(own().graph, own().values, {"method": "m" * 200})
    assert len(Entry.of(scores=long).name) == LONGEST_LABEL


def test_the_command_line_takes_files_of_scores(tmp_path: Path) -> None:
    path = ew.save(ew.attribute(ew.load("nano"), ew.task("ioi").pairs(ew.load("nano").tokenizer, n=4), method="eap"),
                   tmp_path / "mine.safetensors")  # fmt: skip
    words = ["--examples", "4", "--held-out", "0", "--edges", "12", "--pictures", "none", "--reference", "none"]
    text = edgewise("compare", "--methods", f"eap,own={path}", *words, "--out", str(tmp_path / "run")).stdout
    assert "own" in text
