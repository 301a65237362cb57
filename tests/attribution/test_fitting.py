"""Batches that do not fit into memory are halved, said so, and give the same scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.families import pairs, subject

import edgewise as ew
from edgewise.attribution.contraction import contract
from edgewise.attribution.neuron_scores import contract_neurons
from edgewise.errors import NumericalError


def short_of_memory(at_most: int, error: Exception) -> Callable[..., Any]:
    """A contraction that fails for more than so many examples."""

    def contracted(on: Any, change: Any, slopes: Any) -> Any:
        if len(change.clean.inputs) > at_most:
            raise error
        return contract(on, change, slopes)

    return contracted


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("how", ["corrupted", "mean"])
def test_a_batch_that_does_not_fit_is_halved(error: Exception, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on, of = subject("gpt2"), pairs()
    whole = ew.attribute(on, of, ablation=how)
    assert "fitting_batch_size" not in whole.provenance
    monkeypatch.setattr("edgewise.attribution.paths.contract", short_of_memory(1, error))
    with pytest.warns(RuntimeWarning) as said:
        scores = ew.attribute(on, of, ablation=how, batch_size=8)
    assert [str(one.message) for one in said] == [
        "not enough memory for a batch of 5: going on with 2",
        "not enough memory for a batch of 2: going on with 1",
    ]
    assert (scores.provenance["batch_size"], scores.provenance["fitting_batch_size"]) == (8, 1)
    torch.testing.assert_close(scores.values, whole.values, rtol=1e-4, atol=1e-6)


def test_nodes_say_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(on: Any, change: Any, slopes: Any) -> Any:
        if len(change.clean.inputs) > 2:
            raise MemoryError
        return contract_neurons(on, change, slopes)

    monkeypatch.setattr("edgewise.attribution.paths.contract_neurons", short)
    with pytest.warns(RuntimeWarning, match="going on with 2"):
        scores = ew.attribute_nodes(subject("gpt2"), pairs())
    assert scores.provenance["fitting_batch_size"] == 2


def test_a_single_example_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.attribution.paths.contract", short_of_memory(0, MemoryError()))
    with pytest.warns(RuntimeWarning), pytest.raises(NumericalError, match="not enough memory for a single example"):
        ew.attribute(subject("gpt2"), pairs(), batch_size=2)


def test_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.attribution.paths.contract", short_of_memory(0, RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        ew.attribute(subject("gpt2"), pairs())
