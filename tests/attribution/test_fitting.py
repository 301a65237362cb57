"""Batches that do not fit into memory are halved, said so, and give the same scores."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import pairs, subject

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.attribution.contraction import contract
from edgewise.attribution.neuron_scores import contract_neurons
from edgewise.attribution.patcher import Patcher
from edgewise.engine.tiling import PROCESSOR, using_tiling
from edgewise.errors import NumericalError
from edgewise.metrics import metric as find_metric
from edgewise.progress import silent
from edgewise.pruning.batch_cache import BatchCache, CleanBatch, held_bytes
from edgewise.request import Request


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


def test_exact_effects_are_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, make = ew.attribute(subject("llama"), pairs(), method="exact"), Patcher.of

    def short(batch: Any) -> Patcher:
        if len(batch.pairs) > 2:
            raise MemoryError
        return make(batch)

    monkeypatch.setattr(Patcher, "of", short)
    with pytest.warns(RuntimeWarning, match="not enough memory for a batch of 5: going on with 2"):
        scores = ew.attribute(subject("llama"), pairs(), method="exact")
    assert scores.provenance["fitting_batch_size"] == 2
    assert torch.allclose(scores.values, whole.values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["edge-pruning", "ugs"])
def test_training_goes_through_a_batch_in_parts(method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on, genuine, losses = subject("gpt2", torch.float64), CleanBatch.run, list[list[float]]()

    def short(self: CleanBatch, *arguments: Any, **more: Any) -> torch.Tensor:
        if len(self.batch.pairs) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return genuine(self, *arguments, **more)

    for name in ("whole", "parts"):
        file = tmp_path / name
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            how: dict[str, Any] = {"steps": 4, "batch": 5, "history": str(file)}
            found = ew.discover(on, pairs(), method=method, preset="published", edges=40, **how)
        assert any("not enough memory for a batch" in str(one.message) for one in said) == (name == "parts")
        assert (found.provenance.get("fitting_batch_size", 5) <= 2) == (name == "parts")
        losses.append([json.loads(line)["loss"] for line in file.read_text().splitlines()])
        monkeypatch.setattr(CleanBatch, "run", short)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_what_is_held_of_batches_is_bounded() -> None:
    asked = Request(subject("gpt2"), pairs(), find_metric("kl"), ablation("corrupted"), 1, silent)
    each = held_bytes(asked) // 5
    for room, expected in ((0, 0), (2.5 * each, 2), (99 * each, 5)):
        with using_tiling(replace(PROCESSOR, held_bytes=int(room))):
            batches = BatchCache(asked)
            assert len([*batches, *batches]) == 10
        assert len(batches.held) == expected
