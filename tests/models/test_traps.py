"""Traps of single families: windows, positions, biases and norms that are easily taken for something else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.families import (
    CONFIGS,
    corrupted_run,
    distance,
    gemma3_config,
    gpt_neo_config,
    gptj_config,
    llama_config,
    make_model,
    make_subject,
    opt_config,
    pairs,
    phi3_config,
    phi_config,
    random_circuit,
    stablelm_config,
    subject,
    subject_of,
)

import edgewise as ew
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.errors import InvalidValue, NothingScored
from edgewise.models import Subject


def walked(on: Subject, mask: torch.Tensor) -> torch.Tensor:
    return masked_forward(on, pairs().clean, pairs().positions, mask, corrupted_run(on, pairs()))


# GPT-Neo and GPT-J take scores, and Phi-3 its norms, in float32 whatever the model's dtype.
@pytest.mark.parametrize("family", ["gpt2", "opt", "phi", "stablelm", "stablelm-parallel"])
def test_in_float64_walking_gives_the_native_logits_to_twelve_digits(family: str) -> None:
    on = subject(family, torch.float64)
    native = on.logits(pairs().clean, pairs().positions)
    assert distance(walked(on, on.graph.edge_mask.double()), native) < 1e-12


# -- windows ----------------------------------------------------------------------------------------------------------


def differing_at_the_first_token() -> ew.Pairs:
    clean = torch.randint(1, 50, (2, 7), generator=torch.Generator().manual_seed(3))
    corrupted = clean.clone()
    corrupted[:, 0] = (clean[:, 0] + 5) % 50
    return ew.Pairs.from_tokens(clean, corrupted, correct=[3, 4], wrong=[7, 8])


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (gpt_neo_config(attention_types=[[["local"], 3]], window_size=2), gpt_neo_config()),
        (phi3_config(sliding_window=2), phi3_config(sliding_window=None)),
    ],
)
def test_a_token_out_of_reach_of_all_windows_has_no_effect(narrow: Any, wide: Any) -> None:
    """Three layers that look back by one token each see the last four of seven tokens."""
    of = differing_at_the_first_token()
    with pytest.raises(NothingScored, match="does not change on these pairs, whatever is replaced"):
        ew.attribute(make_subject(narrow), of, method="exact")
    assert float(ew.attribute(make_subject(wide), of, method="exact").values.abs().max()) > 1e-3


def test_gpt_neo_takes_the_window_of_each_layer() -> None:
    of = pairs()
    kinds = [[["global", "local"], 1], [["local"], 1]], [[["local", "global"], 1], [["local"], 1]]
    first, second = (make_subject(gpt_neo_config(attention_types=kind, window_size=2)) for kind in kinds)
    assert distance(first.logits(of.clean, of.positions), second.logits(of.clean, of.positions)) > 1e-2
    for on in (first, second):
        ones = on.graph.edge_mask.float()
        assert distance(walked(on, ones), on.logits(of.clean, of.positions)) < 1e-5


# -- positions --------------------------------------------------------------------------------------------------------


def test_opt_keeps_two_positions_free() -> None:
    on, of = subject("opt"), pairs()
    decoder = on.model.model.decoder
    places = decoder.embed_positions.weight[2 : 2 + of.clean.shape[1]]
    assert torch.equal(on.embed(of.clean)[:, :, 0], decoder.embed_tokens(of.clean) + places)
    assert on.longest_prompt == 32


def test_gpt_j_turns_neighbouring_numbers() -> None:
    """Moving a prompt on by some tokens changes no product of a query and a key, whose angles differ by their distance."""
    on = subject("gpt-j")
    attention, source = on.blocks[0].attention, __import__("transformers.models.gptj.modeling_gptj", fromlist=["_"])
    angles = attention.embed_positions
    assert angles.shape == (32, 4)
    q, k = torch.randn(2, 1, 1, 1, 4, generator=torch.Generator().manual_seed(0))

    def turned(x: torch.Tensor, at: int) -> torch.Tensor:
        sin, cos = angles[at][None, None].chunk(2, dim=-1)
        return source.apply_rotary_pos_emb(x, sin, cos)[0, 0, 0]

    assert float(turned(q, 9) @ turned(k, 4)) == pytest.approx(float(turned(q, 12) @ turned(k, 7)), abs=1e-5)
    # Number 0 is turned with number 1, at the fastest rate.
    one = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    expected = torch.tensor([torch.tensor(3.0).cos(), torch.tensor(3.0).sin(), 0.0, 0.0])
    torch.testing.assert_close(turned(one, 3), expected)


def test_phi3_takes_no_prompts_for_which_it_would_change_its_angles() -> None:
    """Longer prompts get other angles than shorter ones of the same batch would have alone."""
    factors = {"short_factor": [1.0, 1.5], "long_factor": [2.0, 8.0], "partial_rotary_factor": 0.5}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, **factors}
    on = make_subject(phi3_config(rope_parameters=rope, original_max_position_embeddings=6))
    assert on.longest_prompt == 6
    with pytest.raises(InvalidValue, match="prompts have 7 tokens, but tiny Phi3ForCausalLM takes at most 6"):
        on.logits(pairs().clean, pairs().positions)


def test_angles_that_grow_with_the_prompt_are_the_usual_ones_in_all_prompts_that_are_taken() -> None:
    """Nothing changes below the model's length, a longer run of somebody else's before included; nothing longer is taken."""
    usual = {"rope_type": "default", "rope_theta": 1e4}
    grows = {**usual, "rope_type": "dynamic", "factor": 4.0}
    plain = make_subject(llama_config(rope_parameters=usual, max_position_embeddings=8))
    on = make_subject(llama_config(rope_parameters=grows, max_position_embeddings=8))
    assert on.longest_prompt == 7
    clean, positions = pairs().clean, pairs().positions
    assert clean.shape[1] == 7
    alone = on.logits(clean[:, :6], positions.clamp(max=5))
    for _ in range(2):
        assert torch.equal(on.logits(clean, positions), plain.logits(clean, positions))
        assert torch.equal(on.logits(clean[:, :6], positions.clamp(max=5)), alone)
        on.model(input_ids=clean.repeat(1, 3))
    for tokens in (torch.cat([clean, clean[:, :1]], dim=1), clean.repeat(1, 2)):
        with pytest.raises(
            InvalidValue, match=rf"prompts have {tokens.shape[1]} tokens, but tiny Llama.* takes at most 7"
        ):
            on.logits(tokens, positions)


def test_angles_of_one_kind_of_layer_count_too() -> None:
    turns = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 2.0},
    }
    assert make_subject(gemma3_config(rope_parameters=turns)).longest_prompt == 31


# -- biases, norms, dropped layers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [gptj_config(), phi_config()])
def test_the_bias_of_the_unembedding_counts(config: Any) -> None:
    model, of = make_model(config), pairs()
    on = subject_of(model)
    mask = random_circuit(on, 0.4, seed=2).mask.float()
    before, bias = walked(on, mask), model.lm_head.bias.detach().clone()
    assert float(bias.abs().min()) > 0
    model.lm_head.bias.data.zero_()
    torch.testing.assert_close(before - walked(on, mask), bias.expand(len(of), -1), rtol=1e-4, atol=1e-5)


def test_only_the_output_projection_of_gpt_neo_has_a_bias() -> None:
    block = subject("gpt-neo").blocks[0]
    assert [part.bias for part in block.projections.parts()] == [None, None, None]
    assert block.output_bias is not None


def test_a_norm_for_each_head_stays_with_its_head() -> None:
    """Dropping other heads' edges changes nothing in a head: its own norm is taken, not that of the first that runs."""
    on = make_subject(stablelm_config(qk_layernorm=True, num_key_value_heads=4))
    norms = on.blocks[1].attention.q_layernorm.norms
    assert distance(norms[0].weight, norms[3].weight) > 0.05
    graph = on.graph
    sparse = torch.zeros(graph.edge_mask.shape)
    for edge in ("input->a1.h3<q>", "input->a1.h3<k>", "input->a1.h3<v>", "a1.h3->logits"):
        sparse[graph.edge_index(edge)] = 1
    alone = walked(on, sparse)
    everything = masked_forward(
        on, pairs().clean, pairs().positions, Mask(sparse, candidates=graph.edge_mask), corrupted_run(on, pairs())
    )
    assert distance(alone, everything) < 1e-5
    norms[3].weight.data += 1
    assert distance(walked(on, sparse), alone) > 1e-3


def test_layers_that_are_dropped_in_training_are_not() -> None:
    model = make_model(opt_config(layerdrop=1.0, dropout=0.5))
    expected = subject_of(model).logits(pairs().clean, pairs().positions)
    model.train()
    on = ew.load(model)
    assert torch.equal(on.logits(pairs().clean, pairs().positions), expected)
    assert model.training


# -- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "parallel"),
    [("gpt-j", True), ("phi", True), ("stablelm-parallel", True), ("stablelm", False), ("phi3", False), ("opt", False)],
)
def test_heads_feed_the_mlp_of_their_layer_where_the_layer_is_serial(family: str, parallel: bool) -> None:
    assert ("a1.h0->m1" in subject(family).graph.edges) != parallel


def test_phi3_keeps_queries_then_keys_then_values_of_unequal_width() -> None:
    on = subject("phi3")
    weight, _ = on.blocks[0].projections.rows(list(range(8)))
    fused = on.model.model.layers[0].self_attn.qkv_proj.weight
    assert fused.shape == (4 * 8 + 2 * 8 + 2 * 8, 32)
    assert torch.equal(weight[5], fused[4 * 8 + 8 : 4 * 8 + 16])  # the second of two k heads
    assert torch.equal(weight[6], fused[4 * 8 + 16 : 4 * 8 + 24])  # the first v head


@pytest.mark.parametrize("family", ["phi3", "stablelm-parallel"])
def test_an_ungrouped_twin_shares_all_weights_but_keys_and_values(family: str) -> None:
    model = make_model(CONFIGS[family]())
    own = {parameter.data_ptr() for parameter in model.parameters()}
    twin = ew.load(model, kv="ungrouped")
    new = {name.split(".")[-2] for name, parameter in twin.model.named_parameters() if parameter.data_ptr() not in own}
    assert new == ({"qkv_proj"} if family == "phi3" else {"k_proj", "v_proj"})
    assert twin.graph.kv_heads == 4
