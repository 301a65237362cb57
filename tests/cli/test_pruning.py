"""Pruning from the command line: the number of edges asked for, files, and one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import edgewise, refused

import edgewise as ew

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
        (["--method", "edge-pruning", "--edges", "0"], "a path from input to logits needs at least one"),
        (["--method", "edge-pruning", "--edges", "1000000"], "asked for 1,000,000 edges"),
        (["--method", "edge-pruning", "--option", "learning_rate=1e9"], "lower it"),
        (["--method", "edge-pruning", "--option", "checkpoint=other"], "other is not a checkpoint of edgewise"),
        (["--method", "edge-pruning", "--option", "preset=best"], "unknown preset of edge-pruning 'best'"),
        (["--method", "hap", "--edges", "60", "--option", "keep=0.1"], "raise keep"),
        (["--method", "hap", "--option", "keep=2"], "keep=2"),
        (["--method", "subnetwork-probing", "--edges", "9"], "decides itself how many edges"),
        (["--method", "edge-pruning", "--data", "empty.csv"], "there are no pairs in it"),
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
