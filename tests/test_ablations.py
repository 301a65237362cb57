"""Ablations: means worked out by hand from native hidden states, and what padding must not do to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.families import FAMILIES, POST_NORMED, distance, pairs, subject
from torch import Tensor

import edgewise as ew
from edgewise.ablations import ABLATIONS, Mean, PositionMean, Zero, ablation
from edgewise.engine.replacement import Replacement
from edgewise.errors import InvalidValue, UnknownName
from edgewise.models import Subject
from edgewise.pairs import Pairs

NEAR = 1e-5
SINGLE_NORM = [name for name in FAMILIES if name not in POST_NORMED]


def hidden(on: Subject, tokens: Tensor) -> dict[str, Tensor]:
    """Writer outputs of one prompt, [position, ..], read with plain hooks: z of all heads, MLP outputs, the input."""
    seen: dict[str, Tensor] = {}
    handles = [on.blocks[0].module.register_forward_pre_hook(_keep_input(seen, "input"), with_kwargs=True)]
    for layer, block in enumerate(on.blocks):
        handles.append(block.output.register_forward_pre_hook(_keep_input(seen, f"z{layer}"), with_kwargs=True))
        handles += [hook.attach() for hook in block.mlp_written(_keep_written(seen, f"m{layer}", block.multiplied))]
    with torch.no_grad():
        on.model(input_ids=tokens[None])
    for handle in handles:
        handle.remove()
    return seen


def _keep_input(seen: dict[str, Tensor], name: str) -> Any:
    def keep(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen[name] = (args or (kwargs["hidden_states"],))[0][0]

    return keep


def _keep_written(seen: dict[str, Tensor], name: str, multiplied: Any) -> Any:
    def keep(output: Tensor) -> None:
        seen[name] = multiplied(output[0])

    return keep


def by_hand(on: Subject, of: Pairs) -> list[dict[str, Tensor]]:
    """Hidden states of the corrupted prompts, each cut after its answer position."""
    return [
        {name: value[: end + 1] for name, value in hidden(on, tokens[: end + 1]).items()}
        for tokens, end in zip(of.corrupted, of.positions.tolist(), strict=True)
    ]


def prepared(how: str, on: Subject, of: Pairs, batch_size: int = 2) -> Replacement:
    return ablation(how).prepare(on, of, batch_size)(of)


def check(replacement: Replacement, expected: dict[str, Tensor], on: Subject) -> None:
    writes = replacement.writes
    assert distance(writes.stream[0], expected["input"]) < NEAR
    for layer in range(on.graph.layers):
        assert distance(writes.z[layer][0].flatten(-2), expected[f"z{layer}"]) < NEAR
        if on.graph.mlps:
            assert distance(writes.mlp[layer][0], expected[f"m{layer}"]) < NEAR


@pytest.mark.parametrize("family", SINGLE_NORM)
def test_mean_is_the_average_of_all_tokens_up_to_the_answers(family: str) -> None:
    on, of = subject(family), pairs()
    states = by_hand(on, of)
    check(prepared("mean", on, of), {k: torch.cat([s[k] for s in states]).mean(0, keepdim=True) for k in states[0]}, on)


@pytest.mark.parametrize("family", SINGLE_NORM)
def test_position_mean_is_the_average_of_the_prompts_that_reach_a_position(family: str) -> None:
    on, of = subject(family), pairs()
    states = by_hand(on, of)

    def at(name: str, place: int) -> Tensor:
        return torch.stack([s[name][place] for s in states if len(s[name]) > place]).mean(0)

    width = int(of.positions.max()) + 1
    check(
        prepared("position-mean", on, of),
        {name: torch.stack([at(name, place) for place in range(width)]) for name in states[0]},
        on,
    )


@pytest.mark.parametrize("family", POST_NORMED)
def test_means_of_a_shared_norm_are_means_of_the_heads_shares(family: str) -> None:
    """The means of all heads' writes, summed, are the mean of what the norm after attention puts out."""
    on, of = subject(family), pairs()
    normed: list[Tensor] = []
    handle = on.blocks[1].attention_post.module.register_forward_hook(lambda m, a, output: normed.append(output[0]))
    for tokens, end in zip(of.corrupted, of.positions.tolist(), strict=True):
        on.logits(tokens[None, : end + 1], torch.tensor([end]))
    handle.remove()
    z = prepared("mean", on, of).writes.z[1]
    summed = torch.einsum("bthe,hed->btd", z, on.blocks[1].output_weight)[0, 0]
    assert distance(summed, torch.cat(normed).mean(0)) < NEAR


@pytest.mark.parametrize("family", FAMILIES)
def test_zero_leaves_the_biases_alone(family: str) -> None:
    on, of = subject(family), pairs()
    replacement = prepared("zero", on, of)
    biases = [block.output_bias for block in on.blocks if block.output_bias is not None]
    assert not any(x.any() for x in (replacement.writes.inputs, *replacement.writes.z, *replacement.writes.mlp))
    stream = torch.stack(biases).sum(0) if biases else torch.zeros(on.d_model)
    assert torch.allclose(replacement.final_in[0, 0], stream, atol=1e-6)
    expected = on.unembed(stream).expand(len(of), -1)
    assert torch.allclose(replacement.logits(on, of.positions), expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["mean", "position-mean"])
def test_what_readers_get_is_the_sum_of_the_replaced_writers(family: str, how: str) -> None:
    """Recomputed from the writers one by one, with the biases of earlier layers."""
    on, of = subject(family), pairs()
    replacement, graph = prepared(how, on, of), on.graph
    total, bias = replacement.writes.inputs.sum(dim=-2), torch.zeros(on.d_model)
    for layer, block in enumerate(on.blocks):
        assert distance(replacement.attention_in[layer], total + bias) < NEAR
        before, bias_before = total.clone(), bias
        for head in range(graph.heads):
            total += replacement.writes.z[layer][..., head, :] @ block.output_weight[head]
        bias = bias if block.output_bias is None else bias + block.output_bias
        if graph.mlps:
            assert distance(replacement.mlp_in[layer], before + bias_before if graph.parallel else total + bias) < NEAR
            total += replacement.writes.mlp[layer]
    assert distance(replacement.final_in, total + bias) < NEAR


@pytest.mark.parametrize("how", ["mean", "position-mean"])
def test_a_causal_model_takes_whole_prompts_as_padded_ones(how: str) -> None:
    on, of = subject("gpt2"), pairs()
    ours, theirs = (
        ew.attribute(on, one, ablation=how).values
        for one in (replace(of, after="prompt"), replace(of, after="padding"))
    )
    assert distance(ours, theirs) < NEAR


@pytest.mark.parametrize("how", ["mean", "position-mean"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_means_do_not_depend_on_batches_or_padding(family: str, how: str) -> None:
    on, of = subject(family), pairs()
    noisy = torch.where(torch.arange(of.corrupted.shape[1]) <= of.positions[:, None], of.corrupted, 33)
    other = Pairs(of.clean, noisy, of.correct, of.wrong, of.positions)
    expected = prepared(how, on, of, 5)
    for again in (prepared(how, on, of, 1), prepared(how, on, other, 3)):
        assert distance(again.final_in, expected.final_in) < NEAR
        assert distance(again.writes.raw[0], expected.writes.raw[0]) < NEAR


def test_means_over_another_dataset() -> None:
    on, of = subject("gpt2"), pairs()
    other = Pairs(of.corrupted, of.clean, of.correct, of.wrong, of.positions)
    for policy in (Mean, PositionMean):
        theirs = policy(over=other).prepare(on, of, 2)(of)
        assert distance(theirs.final_in, policy().prepare(on, other, 2)(other).final_in) < NEAR
        assert distance(theirs.final_in, policy().prepare(on, of, 2)(of).final_in) > 0.01
    scores = ew.attribute(on, of, ablation=Mean(over=other))
    assert scores.provenance["ablation_data"] == other.fingerprint


def test_a_position_mean_over_shorter_prompts_is_refused() -> None:
    on, of = subject("gpt2"), pairs()
    short = Pairs(of.clean[:, :3], of.corrupted[:, :3], of.correct, of.wrong, of.positions * 0 + 2)
    with pytest.raises(
        InvalidValue, match="these prompts have 7 tokens, but the mean was taken over prompts of at most 3"
    ):
        ew.attribute(on, of, ablation=PositionMean(over=short))
    assert ew.attribute(on, of, ablation=Mean(over=short)).values.any()


def test_names() -> None:
    assert isinstance(ablation("position_mean"), PositionMean)
    assert ablation("zero") == Zero()
    policy = Mean()
    assert ablation(policy) is policy
    assert list(ABLATIONS) == ["corrupted", "zero", "mean", "position-mean"]
    with pytest.raises(UnknownName, match="did you mean 'mean'"):
        ablation("means")
