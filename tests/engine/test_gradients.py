"""Gradients handed over in the backward pass: which, in which order, and that nothing is held longer than that."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from support.all_gradients import Collected, collected
from support.families import FAMILIES, distance, pairs, subject
from torch import Tensor

from edgewise.engine.gradients import GradientSink, RunHooks, live_run
from edgewise.engine.record import record, record_writes
from edgewise.models.hooks import OnInput

every_family = pytest.mark.parametrize("family", FAMILIES)


def objective(logits: Tensor) -> Tensor:
    return (logits[:, 3] - logits[:, 5]).sum()


@every_family
def test_every_layer_is_handed_over_once_the_last_first(family: str) -> None:
    on, of = subject(family), pairs()
    found, plain = collected(on, of, objective), record(on, of.clean, of.positions)
    for kind in ("heads", "mlp") if on.graph.mlps else ("heads",):
        assert [layer for one, layer in found.order if one == kind] == list(reversed(range(on.graph.layers)))
        streams = plain.attention_in if kind == "heads" else plain.mlp_in
        seen = [layer for one, layer in found.streams if one == kind]
        assert all(torch.equal(found.streams[kind, layer], streams[layer]) for layer in seen)
        assert len(seen) == (on.graph.layers if kind == "heads" or not found.at_mlp_in else 0)
    assert len(found.at_final) == 1


@every_family
def test_the_gradient_at_the_final_norm_is_autograds(family: str) -> None:
    on, of = subject(family), pairs()
    stream = record(on, of.clean, of.positions).final_in.requires_grad_()
    with torch.enable_grad():
        at_answers = stream[torch.arange(len(of)), of.positions]
        expected = torch.autograd.grad(objective(on.unembed(at_answers)), stream)[0]
    assert distance(collected(on, of, objective).at_final[0], expected) < 1e-5


def test_a_run_can_be_gone_back_through_several_times() -> None:
    on, of = subject("llama"), pairs()
    first, second = Collected(), Collected()
    with live_run(on, of.clean, of.positions, objective) as run:
        run.gradients(first)
        run.last_gradients(second)
    assert first.order == second.order
    for layer in range(on.graph.layers):
        assert torch.equal(first.at_heads[layer], second.at_heads[layer])
        assert torch.equal(first.projected[layer], second.projected[layer])


def test_a_layer_behind_which_an_edit_stands_is_left_out() -> None:
    on, of = subject("gpt2"), pairs()
    held = record(on, of.clean, of.positions).writes.raw[1].flatten(-2).requires_grad_()
    found = Collected()
    with live_run(
        on, of.clean, of.positions, objective, hooks=RunHooks([OnInput(on.blocks[1].output, lambda _: held)])
    ) as run:
        run.last_gradients(found)
    assert sorted(found.at_heads) == [0, 2]
    assert sorted(found.at_mlp_in) == [0, 1, 2]


class Watching(GradientSink):
    """Counts how many of the layers handed over before are still alive."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.alive: list[int] = []

    def heads(self, layer: int, stream: Tensor, projected: Tensor, gradient: Tensor) -> None:
        self.alive.append(sum(one() is not None for one in self.seen))
        self.seen.append(weakref.ref(gradient))


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox-parallel"])
def test_a_layer_that_was_handed_over_is_held_by_nobody(family: str) -> None:
    on, of, taker = subject(family), pairs(), Watching()
    gc.collect()
    gc.disable()
    try:
        with live_run(on, of.clean, of.positions, objective) as run:
            sites, value = weakref.ref(run._sites), weakref.ref(run._value)
            run.last_gradients(taker)
            assert all(not heads.outputs and heads.stream is None for heads in run._sites.heads)
        del run
        assert (sites(), value()) == (None, None), "hooks and graph hold each other"
    finally:
        gc.enable()
    assert taker.alive == [0] * on.graph.layers


@every_family
def test_writes_recorded_alone_are_those_of_the_whole_recording(family: str) -> None:
    on, of = subject(family), pairs()
    (writes, logits), whole = record_writes(on, of.corrupted, of.positions), record(on, of.corrupted, of.positions)
    assert torch.equal(logits, whole.logits)
    assert torch.equal(writes.inputs, whole.writes.inputs)
    for kind in ("z", "raw", "mlp"):
        assert len(getattr(writes, kind)) == len(getattr(whole.writes, kind))
        assert all(map(torch.equal, getattr(writes, kind), getattr(whole.writes, kind)))
