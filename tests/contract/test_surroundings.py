"""Law 11: nothing that a caller, or another package, has set in torch changes a result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from support.families import CONFIGS, make_model
from support.thinned import thinned
from support.verbs import VERBS
from torch import Tensor

import edgewise as ew
from edgewise.errors import UnsupportedModel
from edgewise.models import Subject
from edgewise.surroundings import neutral


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def training(on: Subject) -> Iterator[None]:
    on.model.train()
    try:
        yield
        assert all(module.training for module in on.model.modules())
    finally:
        on.model.eval()


@contextmanager
def compiled(on: Subject) -> Iterator[None]:
    modules = [on.model, *(block.module for block in on.blocks), on.blocks[0].mlp_norm.module]  # type: ignore[union-attr]
    for module in modules:
        module.compile(backend="eager")
    try:
        yield
        assert all(module._compiled_call_impl is not None for module in modules)
    finally:
        for module in modules:
            module._compiled_call_impl = None


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=False)


SURROUNDINGS: dict[str, Callable[[Subject], AbstractContextManager[Any]]] = {
    "autocast": lambda _: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": lambda _: torch.inference_mode(),
    "no_grad": lambda _: torch.no_grad(),
    "float64 by default": lambda _: default_dtype(torch.float64),
    "bfloat16 by default": lambda _: default_dtype(torch.bfloat16),
    "another device by default": lambda _: torch.device("meta"),
    "training": training,
    "compiled": compiled,
    "deterministic": lambda _: deterministic(),
}


@cache
def right(family: str, verb: str) -> Tensor:
    return VERBS[verb](ew.load(make_model(CONFIGS[family]())))


@pytest.mark.parametrize(
    ("surroundings", "verb", "family"),
    thinned([(one, verb) for one in SURROUNDINGS for verb in VERBS], ["gpt2", "llama", "gemma2", "olmo2"], one_in=8),
)
def test_no_surroundings_change_a_result(surroundings: str, verb: str, family: str) -> None:
    expected, on = right(family, verb), ew.load(make_model(CONFIGS[family]()))
    with SURROUNDINGS[surroundings](on):
        found = VERBS[verb](on)
    assert found.device.type == "cpu"
    assert torch.allclose(found.cpu(), expected, rtol=1e-4, atol=1e-5)
    # Nothing is left behind that is of them.
    assert torch.allclose(VERBS[verb](on), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("surroundings", [name for name in SURROUNDINGS if name not in ("training", "compiled")])
def test_all_that_is_made_before_a_method_may_be_made_in_any_surroundings(surroundings: str) -> None:
    """A model is loaded, a task gives pairs, a graph and a circuit are made: and then used outside."""

    def made() -> tuple[Subject, ew.Pairs, ew.Circuit]:
        on = ew.load("nano")
        task = ew.task("ioi")
        given = task.pairs(on.tokenizer, n=6, seed=3)
        return on, given, ew.Circuit.from_edges(on.graph, on.graph.edges[::5])

    expected = made()
    with SURROUNDINGS[surroundings](expected[0]):
        on, given, circuit = made()
    assert given.clean.device.type == "cpu"
    assert circuit == expected[2]
    ours = ew.discover(on, given, method="edge-pruning", edges=12, steps=3)
    assert ours == ew.discover(expected[0], expected[1], method="edge-pruning", edges=12, steps=3)
    report = ew.evaluate(on, circuit, given, random=None)
    assert report["kl"].circuit == pytest.approx(
        ew.evaluate(*expected[:1], expected[2], expected[1], random=None)["kl"].circuit
    )


def test_a_model_made_in_inference_mode_is_refused_by_name() -> None:
    with torch.inference_mode():
        model = make_model(CONFIGS["gpt2"]())
    with pytest.raises(UnsupportedModel, match="made in inference mode"):
        ew.load(model)


def test_surroundings_are_as_they_were_afterwards_whoever_leaves_first() -> None:
    """The default dtype is that of all threads: one that comes while another is inside puts back what the first found."""
    first_in, second_in, second_out = (threading.Event() for _ in range(3))
    seen: list[torch.dtype] = []

    def first() -> None:
        with neutral():
            first_in.set()
            second_in.wait(10)
        second_out.wait(10)

    def second() -> None:
        first_in.wait(10)
        with neutral():
            second_in.set()
            runner.join(0.2)
            seen.append(torch.get_default_dtype())
        second_out.set()

    with default_dtype(torch.float64):
        runner, other = threading.Thread(target=first), threading.Thread(target=second)
        runner.start(), other.start()
        other.join(10), runner.join(10)
        assert torch.get_default_dtype() == torch.float64
    assert seen == [torch.float32]
    with torch.inference_mode(), neutral():
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
    with torch.autocast("cpu"), neutral():
        assert not torch.is_autocast_enabled("cpu")
