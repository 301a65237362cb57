"""Pruning from the command line: the number of edges asked for, files, and one sentence for every mistake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import edgewise, refused

import edgewise as ew
from edgewise.pruning.fit import Optimization

FEW = ["--examples", "6", "--batch-size", "6", "--option", "steps=8"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("edge-pruning", ["--edges", "24"]),
        ("hap", ["--edges", "24", "--option", "keep=0.4"]),
        ("hap", ["--option", "keep=0.4", "--option", "sparsity=0.9"]),
        ("subnetwork-probing", ["--option", "regularization=5"]),
    ],
)
def test_a_circuit_is_found_and_reported(here: Path, model: Path, method: str, options: list[str]) -> None:
    files = ["--option", "history=h.jsonl", "--option", "curves=c.png", "--option", "checkpoint=state"]
    result = edgewise(
        "discover", "--model", model, "--method", method, *FEW, *options, *files, "--out", "run", "--json"
    )
    assert result.exit_code == 0, result.output
    circuit = ew.open("run/circuit.json")
    wanted = 24 if "--edges" in options else round(0.1 * circuit.graph.n_edges)
    assert len(circuit) == wanted or method == "subnetwork-probing"
    assert len(Path("h.jsonl").read_text().splitlines()) == circuit.provenance["steps"] <= 8
    assert Path("c.png").exists()
    assert not Path("state").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "edge-pruning", "--option", "sparsity=1.2"], "sparsity=1.2 must lie between 0 and 1"),
        (
            ["--method", "edge-pruning", "--option", "sparsity=0.99999"],
            "a path from input to logits needs at least one",
        ),
        (
            ["--method", "edge-pruning", "--edges", "0"],
            "asked for 0 edges; give 1 or more",
        ),
        (["--method", "edge-pruning", "--edges", "1000000"], "asked for 1,000,000 edges"),
        (["--method", "edge-pruning", "--option", "learning_rate=1e9"], "lower the rate"),
        (["--method", "edge-pruning", "--option", "checkpoint=other"], "other is not a checkpoint of edgewise"),
        (["--method", "edge-pruning", "--option", "preset=best"], "unknown preset of edge-pruning 'best'"),
        (["--method", "hap", "--edges", "60", "--option", "keep=0.1"], "raise keep"),
        (["--method", "hap", "--option", "keep=2"], "keep=2"),
        (["--method", "ugs", "--option", "regularization=-1"], "regularization=-1 must be a number of at least 0"),
        (["--method", "ugs", "--option", "loss=kll"], "unknown metric 'kll'"),
        (["--method", "ugs", "--stability", "5"], "no scores that are means over the examples"),
        (["--method", "subnetwork-probing", "--edges", "9"], "decides itself how many edges"),
        (["--method", "edge-pruning", "--data", "empty.csv"], "it has no pairs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(
    here: Path, model: Path, arguments: list[str], message: str
) -> None:
    Path("empty.csv").write_text("")
    Path("other").write_text("something")
    before = sorted(here.rglob("*"))
    refused(edgewise("discover", "--model", model, *FEW, *arguments), message=message)
    assert sorted(here.rglob("*")) == before


def test_edges_scored_by_training_are_selected_like_others(here: Path, model: Path) -> None:
    command = ["discover", "--model", model, "--method", "ugs", *FEW, "--option", "samples=2", "--edges", "24"]
    result = edgewise(*command, "--out", "run")
    assert result.exit_code == 0, result.output
    scores, circuit = ew.open("run/scores.safetensors"), ew.open("run/circuit.json")
    assert circuit == scores.top(24).without_dangling()
    assert len(Path("run/history.jsonl").read_text().splitlines()) == 8
    assert Path("run/curve.json").exists()
    methods = ["--methods", "ugs,eap", "--option", "ugs.steps=8", "--pictures", "none"]
    compared = edgewise("compare", "--model", model, *FEW[:4], *methods, "--out", "both")
    assert compared.exit_code == 0, compared.output
    assert ew.open("both/methods/ugs/scores.safetensors").provenance["metric"] == "kl"
    assert edgewise("show", "both/methods/ugs", "--out", "ugs.html").exit_code == 0
    assert edgewise("evaluate", "run", *FEW[:4]).exit_code == 0


def test_an_interrupted_training_of_scores_goes_on(here: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["discover", "--model", model, "--method", "ugs", *FEW, "--edges", "24"]
    assert edgewise(*command, "--out", "whole").exit_code == 0
    advance, steps = Optimization.advance, []

    def interrupted(self: Optimization) -> Any:
        steps.append(self.step)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(Optimization, "advance", interrupted)
    assert edgewise(*command, "--out", "run").exit_code == 130
    assert sorted(os.listdir(here)) == ["run.partial", "whole"]
    assert edgewise(*command, "--out", "run", "--resume").exit_code == 0
    assert steps == [0, 1, 2, 3, 4, 4, 5, 6, 7]
    ours, theirs = (ew.open(f"{folder}/scores.safetensors").values for folder in ("run", "whole"))
    assert torch.equal(ours, theirs)
    assert Path("run/history.jsonl").read_bytes() == Path("whole/history.jsonl").read_bytes()
