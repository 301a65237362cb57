"""Numbers computed by another implementation (the EAP-IG library) on a small random GPT-2, kept in tests/golden."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import edgewise as ew

HERE = Path(__file__).parent.parent / "golden" / "tiny_gpt2"


@cache
def numbers() -> dict[str, Any]:
    return json.loads((HERE / "numbers.json").read_text(encoding="utf-8"))


@cache
def subject() -> Any:
    return ew.load(HERE)


@cache
def pairs() -> ew.Pairs:
    tokens = {side: torch.tensor(rows) for side, rows in numbers()["pairs"].items()}
    return ew.Pairs.from_tokens(tokens.pop("clean"), tokens.pop("corrupted"), **tokens)


def test_the_graphs_name_the_same_edges() -> None:
    assert set(subject().graph.edges) == set(numbers()["eap"]) == set(numbers()["exact"])
    assert subject().graph.n_edges == 110


@pytest.mark.parametrize("method", ["eap", "exact"])
def test_scores_are_those_of_the_other_implementation(method: str) -> None:
    expected = numbers()[method]
    scores = ew.attribute(subject(), pairs(), method=method)
    largest = max(abs(value) for value in expected.values())
    for edge, value in scores.items():
        assert abs(value - expected[edge]) < 1e-5 * largest, edge


def test_the_circuit_is_that_of_the_other_implementation() -> None:
    circuit = ew.discover(subject(), pairs(), method="eap", edges=20)
    assert set(circuit.edges) == set(numbers()["evaluate"]["edges"])
    assert circuit.provenance["edges"] == {"selected": 20, "kept": 18, "total": 110}


def test_the_circuit_computes_what_it_does_there_example_by_example() -> None:
    expected = {name: torch.tensor(values) for name, values in numbers()["evaluate"].items() if name != "edges"}
    circuit = ew.Circuit.from_edges(subject().graph, numbers()["evaluate"]["edges"])
    report = ew.evaluate(subject(), circuit, pairs(), metrics=["logit_diff", "kl"])
    largest = float(expected["logit_diff_circuit"].abs().max())
    values = torch.tensor(report["logit_diff"].values)
    assert float((values - expected["logit_diff_circuit"]).abs().max()) < 1e-5 * largest
    assert float((torch.tensor(report["kl"].values) - expected["kl_circuit"]).abs().max()) < 1e-5
    assert report["logit_diff"].clean == pytest.approx(float(expected["logit_diff_clean"].mean()), abs=1e-5)
    assert report["logit_diff"].corrupted == pytest.approx(float(expected["logit_diff_corrupted"].mean()), abs=1e-5)
