"""Runs whose blocks run again in the backward pass: the same gradients, in less memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial

import pytest
import torch
from support.all_gradients import Collected, collected
from support.families import FAMILIES, VOCAB, distance, pairs, subject
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import edgewise as ew
from edgewise.attribution import ATTRIBUTIONS
from edgewise.engine.gradients import GradientSink, RunHooks, live_run
from edgewise.engine.kept import fits, kept, saved
from edgewise.engine.peak import PeakBytes
from edgewise.engine.record import Recorder, record
from edgewise.engine.rules import CHANGES, BackwardRule
from edgewise.engine.tiling import PROCESSOR, Tiling, tiling_for, using_tiling
from edgewise.models import Subject
from edgewise.models.hooks import OnInput
from edgewise.pairs import Pairs

BY_BLOCK = replace(PROCESSOR, kept_share=0)
GRADIENTS = ("eap", "eap-ig", "eap-ig-activations", "clean-corrupted", "relp", "gim", "hisp", "atp-graddrop", "atp-qk")
three_families = pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])


def objective(logits: Tensor) -> Tensor:
    return (logits[:, 3] - logits[:, 5]).sum()


# -- the same gradients -----------------------------------------------------------------------------------------------


@three_families
@pytest.mark.parametrize("method", GRADIENTS)
def test_scores_are_those_of_a_run_that_is_kept_whole(family: str, method: str) -> None:
    on, few = subject(family, torch.float64), {"steps": 1}
    score = partial(ew.attribute, on, pairs(), method=method, metric="logit_diff")
    options = few if "steps" in {field.name for field in fields(ATTRIBUTIONS[method])} else {}  # type: ignore[arg-type]
    with using_tiling(BY_BLOCK):
        found = score(**options).values
    assert distance(found, score(**options).values) < 1e-10


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_handed_over_is_the_same_in_every_family(family: str) -> None:
    on, of, rule = subject(family), pairs(), BackwardRule.of(["norms", "softmax"])
    with using_tiling(BY_BLOCK):
        ours = collected(on, of, objective, rule)
    whole = collected(on, of, objective, rule)
    assert ours.order == whole.order
    for part in ("streams", "projected", "at_heads", "at_mlp", "at_mlp_in", "at_mlp_out"):
        assert getattr(ours, part).keys() == getattr(whole, part).keys()
        assert all(distance(getattr(ours, part)[key], x) < 1e-5 for key, x in getattr(whole, part).items())
    assert distance(ours.at_final[0], whole.at_final[0]) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_projections_made_again_are_those_of_the_run(family: str) -> None:
    on, of = subject(family), pairs()
    with using_tiling(replace(PROCESSOR, projected="again")):
        again = collected(on, of, objective)
    first = collected(on, of, objective)
    assert again.projected.keys() == first.projected.keys()
    assert all(distance(again.projected[layer], x) < 1e-6 for layer, x in first.projected.items())


@three_families
def test_it_can_be_gone_back_through_several_times_under_any_rule(family: str) -> None:
    on, of, first, second = subject(family), pairs(), Collected(), Collected()
    with (
        using_tiling(BY_BLOCK),
        live_run(on, of.clean, of.positions, objective, rule=BackwardRule.of([*CHANGES])) as run,
    ):
        run.gradients(first)
        run.last_gradients(second)
    assert first.order == second.order
    assert all(torch.equal(first.at_heads[layer], second.at_heads[layer]) for layer in range(on.graph.layers))


def test_a_layer_behind_which_an_edit_stands_is_left_out_and_watching_hooks_see_the_run_once() -> None:
    on, of, found = subject("gpt2"), pairs(), Collected()
    held = record(on, of.clean, of.positions).writes.raw[1].flatten(-2).requires_grad_()
    recorder = Recorder(on)
    hooks = RunHooks([OnInput(on.blocks[1].output, lambda _: held)], watching=recorder.hooks)
    with using_tiling(BY_BLOCK), live_run(on, of.clean, of.positions, objective, hooks=hooks) as run:
        run.last_gradients(found)
    assert sorted(found.at_heads) == [0, 2]
    assert sorted(found.at_mlp_in) == [0, 1, 2]
    assert len(recorder.writes.z) == len(recorder.writes.mlp) == on.graph.layers
    assert torch.equal(recorder.writes.raw[1].flatten(-2), held)


# -- no trace ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["forward", "again"])
def test_what_goes_wrong_in_it_leaves_no_trace(where: str) -> None:
    on, of = subject("llama"), pairs()
    before, calls = ew.attribute(on, of, method="eap").values, []

    def fail(x: Tensor) -> None:
        calls.append(x)
        if len(calls) == (1 if where == "forward" else 2):
            raise KeyError(where)

    def attempt() -> None:
        hooks = RunHooks([OnInput(on.blocks[1].output, fail)])
        with live_run(on, of.clean, of.positions, objective, hooks=hooks) as run:
            run.last_gradients(Collected())

    with using_tiling(BY_BLOCK), torch.no_grad():
        with pytest.raises(KeyError, match=where):
            attempt()
        assert not torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in on.model.modules())
    assert torch.equal(ew.attribute(on, of, method="eap").values, before)


# -- memory -----------------------------------------------------------------------------------------------------------


WIDTH, TOKENS = 64, 128


def llama_of(layers: int) -> Subject:
    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": layers}
    sizes = {"hidden_size": WIDTH, "intermediate_size": 3 * WIDTH, "vocab_size": VOCAB}
    return ew.load(LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval())


def long_pairs() -> Pairs:
    clean, corrupted = torch.randint(1, VOCAB, (2, 1, TOKENS), generator=torch.Generator().manual_seed(0))
    return Pairs.from_tokens(clean, corrupted, correct=torch.tensor([1]), wrong=torch.tensor([2]))


def peak(work: Callable[[Subject], object], layers: int, tiling: Tiling) -> int:
    on = llama_of(layers)
    gc.collect()
    with using_tiling(replace(tiling, chunk_bytes=1 << 18)), PeakBytes(on.device) as count:
        work(on)
    return count.peak


def passes(on: Subject) -> object:
    of, recorder = long_pairs(), Recorder(on)
    with live_run(on, of.clean, of.positions, objective, hooks=RunHooks(watching=recorder.hooks)) as run:
        run.last_gradients(GradientSink())
    return recorder.writes


def scores(on: Subject) -> object:
    return ew.attribute(on, long_pairs(), method="eap")


def growth(work: Callable[[Subject], object], tiling: Tiling) -> float:
    """What a layer more adds to the peak, in streams: [token, d_model] in float32."""
    few, many = (peak(work, layers, tiling) for layers in (4, 8))
    return (many - few) / 4 / (TOKENS * WIDTH * 4)


def test_a_layer_more_costs_its_stream_and_its_writes() -> None:
    """The stream, z and what the MLP writes; kept whole also all that the backward pass reads."""
    assert growth(passes, BY_BLOCK) == pytest.approx(3, rel=0.02)
    assert growth(passes, PROCESSOR) > 12


def test_a_layer_more_of_eap_costs_two_sets_of_writes_and_its_gradients() -> None:
    """At the peak, when all is contracted: 2 · 2 for both runs, 2 for q, k, v (as wide as 2 streams), 1 MLP, 1 normed."""
    assert growth(scores, BY_BLOCK) == pytest.approx(8, rel=0.05)
    assert growth(scores, PROCESSOR) > 14


# -- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_what_would_be_kept_is_foretold(family: str) -> None:
    on = subject(family)
    for tokens in (4, 24):
        assert kept(on, 1, tokens) == pytest.approx(saved(on, tokens), rel=0.05)
    assert kept(on, 6, 24) == pytest.approx(6 * kept(on, 1, 24))


def test_blocks_run_again_where_memory_has_no_room_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    on, here = subject("llama"), torch.device("cpu")
    assert fits(on, 4, 16)
    needed = kept(on, 4, 16)
    for free, expected in ((2 * needed - 2, False), (2 * needed, True)):
        monkeypatch.setattr("edgewise.engine.kept.free_memory", lambda device, free=free: free)
        assert fits(on, 4, 16) is expected
    monkeypatch.setattr("edgewise.engine.kept.free_memory", lambda device: None)
    assert fits(on, 10**6, 10**6)
    assert 0 < tiling_for(here).kept_share < 1
    with using_tiling(BY_BLOCK):
        assert not fits(on, 1, 1)
