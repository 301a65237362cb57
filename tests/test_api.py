"""The verbs: what attribute and discover return, and what their provenance says."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
import torch
from support.families import EXAMPLES, make_subject, pairs, subject, toy_config

import edgewise as ew
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.evaluation import bootstrap
from edgewise.runs.recipe import Recipe


def test_provenance_says_where_scores_come_from() -> None:
    on = subject("gpt2")
    scores = ew.attribute(on, pairs(), method="random", metric="prob-diff", ablation="zero", batch_size=3, seed=4)
    known = dict(scores.provenance)
    assert known["model"] == "tiny GPT2LMHeadModel"
    assert known["architecture"] == "GPT2LMHeadModel"
    assert known["dtype"] == "float32"
    assert known["weights"].startswith("sha256:")
    assert known["data"] == pairs().fingerprint
    assert (known["method"], known["metric"], known["ablation"]) == ("random", "prob_diff", "zero")
    assert known["options"] == {"seed": 4}
    assert (known["examples"], known["batch_size"]) == (EXAMPLES, 3)
    assert set(known["versions"]) >= {"python", "edgewise", "torch", "transformers"}
    json.dumps(known)


def test_provenance_tells_weights_apart() -> None:
    a, b = (make_subject(toy_config(), seed=seed).identity["weights"] for seed in (0, 1))
    assert a != b
    assert a == make_subject(toy_config(), seed=0).identity["weights"]


def test_the_checkpoint_is_no_option_of_the_result(tmp_path: Any) -> None:
    file = tmp_path / "exact"
    assert ew.attribute(subject("toy"), pairs(), method="exact", checkpoint=str(file)).provenance["options"] == {}


def test_one_method_is_the_default_everywhere() -> None:
    verbs = (ew.attribute, ew.attribute_nodes, ew.discover, bootstrap)
    assert {inspect.signature(verb).parameters["method"].default for verb in verbs} == {Recipe().method} == {"eap-ig"}


def test_discover_is_top_without_dangling_edges() -> None:
    on = subject("gpt2")
    scores = ew.attribute(on, pairs())
    circuit = ew.discover(on, pairs(), edges=40)
    assert circuit == scores.top(40).without_dangling()
    assert circuit.provenance["edges"] == {"selected": 40, "kept": len(circuit), "total": 262}
    assert circuit.provenance["selection"] == {"select": "top", "n": 40, "absolute": True}
    assert circuit.provenance["method"] == "eap-ig"
    signed = ew.discover(on, pairs(), edges=40, absolute=False)
    assert signed == scores.top(40, absolute=False).without_dangling() != circuit


def test_discover_takes_a_tenth_by_default_and_passes_arguments_on() -> None:
    on = subject("gpt2")
    circuit = ew.discover(on, pairs(), method="random", seed=3, ablation="mean")
    assert circuit.provenance["edges"]["selected"] == 26
    assert circuit.provenance["options"] == {"seed": 3}
    assert circuit.provenance["ablation"] == "mean"


def test_no_edges_is_a_circuit_that_can_be_evaluated() -> None:
    on = subject("gpt2")
    circuit = ew.Circuit.from_edges(on.graph, [])
    assert len(circuit) == 0
    assert ew.evaluate(on, circuit, pairs())["logit_diff"].faithfulness == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("edges", [-1, 263])
def test_more_edges_than_there_are_is_refused(edges: int) -> None:
    with pytest.raises(InvalidValue, match="the graph has 262"):
        ew.discover(subject("gpt2"), pairs(), edges=edges)


def test_scores_of_two_models_are_not_compared() -> None:
    a, b = (ew.attribute(subject(name), pairs()) for name in ("gpt2", "llama"))
    with pytest.raises(GraphMismatch, match="scores are of different graphs"):
        a.agreement(b)


def test_one_example_and_one_token_are_enough() -> None:
    tokens = torch.tensor([[3]])
    one = ew.Pairs.from_tokens(tokens, tokens + 1, correct=[5], wrong=[6])
    for name in ("toy", "gpt2", "mistral", "gemma2", "neox-parallel"):
        eap, exact = (ew.attribute(subject(name), one, method=method) for method in ("eap", "exact"))
        assert eap.values.any()
        assert exact.values.any()
        assert ew.evaluate(subject(name), eap.top(30), one).examples == 1
