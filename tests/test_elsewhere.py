"""On a device that is not the CPU: every tensor is made where the model is, and results are those of the CPU.

The device is our own (`benchmarks/other_device.py`) and refuses what an accelerator refuses; `test_accelerator.py` runs on a
real one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from benchmarks.other_device import ELSEWHERE, Elsewhere, moved
from support.families import CONFIGS, distance, make_model, pairs, random_circuit, subject, subject_of

import edgewise as ew
from edgewise.ablations import ABLATIONS
from edgewise.attribution import ATTRIBUTIONS
from edgewise.engine.self_check import self_check
from edgewise.methods import METHODS
from edgewise.models import Subject
from edgewise.pruning.base import Trained

pytestmark = pytest.mark.usefixtures("another_device")

NEAR = 1e-5
FEW: dict[str, Any] = {"steps": 3, "batch": 2}


@cache
def far(family: str, dtype: torch.dtype = torch.float32) -> Subject:
    on = subject_of(moved(make_model(CONFIGS[family]()).to(dtype)))
    assert on.device == ELSEWHERE
    return on


# -- the device itself ------------------------------------------------------------------------------------------------


def test_what_is_there_stays_there_until_it_is_fetched() -> None:
    a = torch.arange(6.0).view(2, 3).to(ELSEWHERE)
    made = torch.ones(3, 2, device=ELSEWHERE)
    product = a @ made
    assert all(isinstance(x, Elsewhere) and x.device == ELSEWHERE for x in (a, made, product))
    assert product.cpu().tolist() == product.tolist() == [[3.0, 3.0], [12.0, 12.0]]
    assert float(product.sum()) == 30
    a[0].fill_(1)
    torch.mul(a, 2, out=a)
    assert a.tolist() == [[2.0, 2.0, 2.0], [6.0, 8.0, 10.0]]
    leaf = torch.tensor([1.0, 2.0], device=ELSEWHERE, requires_grad=True)
    (slope,) = torch.autograd.grad((leaf**2).sum(), leaf)
    assert isinstance(slope, Elsewhere)
    assert slope.tolist() == [2.0, 4.0]


def test_what_is_mixed_is_refused() -> None:
    a, here = torch.ones(2, device=ELSEWHERE), torch.ones(2)
    for mix in (lambda: a + here, lambda: here * a, lambda: torch.stack([a, here]), lambda: torch.add(a, a, out=here)):
        with pytest.raises(RuntimeError, match="same device"):
            mix()
    assert (a + torch.tensor(1.0)).tolist() == [2.0, 2.0]  # a CPU scalar may
    assert a[torch.tensor([0])].tolist() == [1.0]  # and a CPU index
    with pytest.raises(RuntimeError, match="same device"):
        here[torch.tensor([0], device=ELSEWHERE)]


# -- what edgewise does there -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "neox-parallel"])
def test_a_model_passes_its_self_check(family: str) -> None:
    self_check(far(family))


@pytest.mark.parametrize(
    ("family", "method"),
    [(family, "eap") for family in ("toy-separate-inputs", "qwen3", "gemma2", "neox-parallel")]
    + [("gpt2" if name == "exact" else "llama", name) for name in ATTRIBUTIONS],
)
def test_scores_are_those_of_the_cpu_and_lie_there(family: str, method: str) -> None:
    steps = {"steps": 2} if method in ("eap-ig", "eap-ig-activations", "mask-ig") else {}
    found, expected = (
        ew.attribute(on, pairs(), method=method, **steps).values for on in (far(family), subject(family))
    )
    assert not isinstance(found, Elsewhere)
    assert distance(found, expected) < NEAR


@pytest.mark.parametrize("how", ABLATIONS)
def test_evaluation_is_that_of_the_cpu(how: str) -> None:
    circuit, metrics = random_circuit(subject("llama"), 0.5, 3), ["kl", "logit_diff", "accuracy", "nll", "prob_diff"]
    found, expected = (
        ew.evaluate(on, circuit, pairs(), metrics=metrics, ablation=how) for on in (far("llama"), subject("llama"))
    )
    for name in metrics:
        assert distance(torch.tensor(found[name].values), torch.tensor(expected[name].values)) < NEAR


def test_nodes_neurons_and_limits() -> None:
    on, near = far("gpt2"), subject("gpt2")
    found, expected = (ew.attribute_nodes(where, pairs(), memory_limit="100GB") for where in (on, near))
    assert distance(found.values, expected.values) < NEAR
    circuit = expected.neuron_scores.top(100)
    kept = [ew.evaluate(where, circuit, pairs(), metrics=["kl"])["kl"].circuit for where in (on, near)]
    assert kept[0] == pytest.approx(kept[1], rel=1e-4)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("acdc", {"tau": 0.1}),
        ("acdc", {"tau": 0.1, "metric": "logit_diff", "ablation": "zero"}),
        ("eap+acdc", {"tau": 0.1}),
        ("edge-pruning", {"edges": 20, **FEW}),
        pytest.param("hap", {"edges": 20, **FEW}, marks=pytest.mark.slow),
        ("subnetwork-probing", FEW),
    ],
)
def test_searches_find_what_they_find_on_the_cpu(method: str, options: dict[str, Any]) -> None:
    # In float64 where gates are trained, so that no gate's place among the others is decided by rounding.
    dtype = torch.float64 if issubclass(METHODS[method], Trained) else torch.float32
    both = (on("gpt2", dtype) for on in (far, subject))
    found, expected = (ew.discover(on, pairs(), method=method, **options) for on in both)
    assert found == expected
    assert found.provenance["final"] == pytest.approx(expected.provenance["final"], rel=1e-4, abs=1e-6)


def test_trained_probabilities_too() -> None:
    found, expected = (ew.attribute(on, pairs(), method="ugs", **FEW).values for on in (far("gpt2"), subject("gpt2")))
    assert distance(found, expected) < NEAR
