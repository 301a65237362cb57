"""A model larger than one device: every method gives what it gives where all layers lie together.

Two devices are made without an accelerator (`support/split.py`): what mixes tensors of both is an error, as on GPUs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from benchmarks.other_device import ELSEWHERE, Elsewhere
from support.families import distance, pairs, random_circuit, subject
from support.split import CPU, split

import edgewise as ew
from edgewise.ablations import ABLATIONS
from edgewise.attribution import ATTRIBUTIONS
from edgewise.engine.record import record
from edgewise.engine.self_check import self_check
from edgewise.models import Subject

pytestmark = pytest.mark.usefixtures("another_device")

NEAR = 1e-5
FEW: dict[str, Any] = {"steps": 3, "batch": 2}


@cache
def over_two(family: str, first: int = 1, home: torch.device = CPU) -> Subject:
    on = split(family, first=first, home=home)
    assert on.device == home
    assert [block.device for block in on.blocks] == [home] * first + [ELSEWHERE if home == CPU else CPU] * (3 - first)
    return on


def home_of(family: str) -> torch.device:
    """Families take turns."""
    return CPU if family in ("llama", "olmo2") else ELSEWHERE


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "neox-parallel", "olmo2", "toy-separate-inputs"])
def test_a_split_model_passes_its_self_check(family: str) -> None:
    self_check(over_two(family, home=home_of(family)))


@pytest.mark.parametrize(
    ("family", "method"),
    [(family, "eap-ig") for family in ("qwen3", "gemma2", "neox-parallel", "toy-separate-inputs")]
    + [("llama", name) for name in ATTRIBUTIONS if name != "exact"]
    + [("gpt2", name) for name in ATTRIBUTIONS]
    + [("gemma2", "exact"), ("gemma2", "atp-qk")],
)
def test_scores_are_those_of_one_device(family: str, method: str) -> None:
    found, expected = (
        ew.attribute(on, pairs(), method=method).values
        for on in (over_two(family, home=home_of(family)), subject(family))
    )
    assert not isinstance(found, Elsewhere)
    assert distance(found, expected) < NEAR


@pytest.mark.parametrize("ablation", ["zero", "mean", "position-mean"])
@pytest.mark.parametrize("method", ["eap-ig", "hisp", "exact"])
def test_scores_under_other_ablations(method: str, ablation: str) -> None:
    found, expected = (
        ew.attribute(on, pairs(), method=method, ablation=ablation).values
        for on in (over_two("gpt2", home=ELSEWHERE), subject("gpt2"))
    )
    assert distance(found, expected) < NEAR


@pytest.mark.parametrize("method", ["eap-ig-activations", "gim", "exact", "mask-ig"])
def test_all_layers_may_lie_elsewhere_than_the_tokens(method: str) -> None:
    found, expected = (
        ew.attribute(on, pairs(), method=method).values for on in (over_two("gpt2", first=0), subject("gpt2"))
    )
    assert distance(found, expected) < NEAR


def test_what_belongs_to_a_layer_stays_there_and_the_rest_has_one_home() -> None:
    on = over_two("llama")
    seen = record(on, pairs().clean, pairs().positions)
    for number, block in enumerate(on.blocks):
        own = (seen.attention_in, seen.mlp_in, seen.writes.z, seen.writes.mlp)
        assert {part[number].device for part in own} == {block.device}
    assert {x.device for x in (seen.logits, seen.final_in, seen.writes.inputs)} == {on.device}


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("how", ABLATIONS)
def test_evaluation_is_that_of_one_device(family: str, how: str) -> None:
    circuit, metrics = random_circuit(subject(family), 0.5, 3), ["kl", "logit_diff", "accuracy", "nll", "prob_diff"]
    found, expected = (
        ew.evaluate(on, circuit, pairs(), metrics=metrics, ablation=how)
        for on in (over_two(family, home=home_of(family)), subject(family))
    )
    for name in metrics:
        assert distance(torch.tensor(found[name].values), torch.tensor(expected[name].values)) < NEAR


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_nodes_and_neurons(family: str) -> None:
    on, near = over_two(family, home=home_of(family)), subject(family)
    found, expected = (ew.attribute_nodes(where, pairs()) for where in (on, near))
    assert distance(found.values, expected.values) < NEAR
    circuit = expected.neuron_scores.top(100)
    kept = [ew.evaluate(where, circuit, pairs(), metrics=["kl"])["kl"].circuit for where in (on, near)]
    assert kept[0] == pytest.approx(kept[1], rel=1e-4)


@pytest.mark.parametrize(
    ("family", "method", "options"),
    [
        ("gpt2", "acdc", {"tau": 0.1}),
        ("llama", "acdc", {"tau": 0.1}),
        ("gpt2", "acdc", {"tau": 0.1, "metric": "logit_diff", "ablation": "zero"}),
        ("gemma2", "acdc", {"tau": 0.3}),
        ("llama", "eap+acdc", {"tau": 0.1}),
        ("llama", "edge-pruning", {"edges": 20, **FEW}),
        ("gpt2", "hap", {"edges": 20, **FEW}),
        ("gpt2", "subnetwork-probing", FEW),
    ],
)
def test_searches_find_what_they_find_on_one_device(family: str, method: str, options: dict[str, Any]) -> None:
    found, expected = (
        ew.discover(on, pairs(), method=method, **options)
        for on in (over_two(family, home=home_of(family)), subject(family))
    )
    assert found == expected
    assert found.provenance["final"] == pytest.approx(expected.provenance["final"], rel=1e-4, abs=1e-6)


def test_trained_probabilities_too() -> None:
    found, expected = (
        ew.attribute(on, pairs(), method="ugs", **FEW).values for on in (over_two("llama"), subject("llama"))
    )
    assert distance(found, expected) < NEAR
