"""Configurations inside the families: whatever loads is exact; kernels, biases, positions and windows of every kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.families import (
    corrupted_run,
    distance,
    gemma2_config,
    gemma3_config,
    gemma_config,
    gpt2_config,
    gpt_neo_config,
    gptj_config,
    granite_config,
    llama_config,
    make_model,
    make_subject,
    mistral_config,
    mixtral_config,
    neox_config,
    olmo2_config,
    olmo3_config,
    opt_config,
    pairs,
    phi3_config,
    phi_config,
    qwen2_config,
    qwen3_config,
    qwen3_moe_config,
    random_circuit,
    smollm3_config,
    stablelm_config,
    starcoder2_config,
    toy_config,
)
from support.thinned import thinned

import edgewise as ew
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.record import record
from edgewise.metrics import Answers, logit_diff

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "partial_rotary_factor": 0.5,
    "short_factor": [1.0, 1.5],
    "long_factor": [2.0, 8.0],
}
VARIANTS: dict[str, Any] = {
    "gpt2 eager": gpt2_config(attn_implementation="eager"),
    "gpt2 scaled by layer": gpt2_config(scale_attn_by_inverse_layer_idx=True),
    "gpt2 unscaled": gpt2_config(scale_attn_weights=False),
    "gpt2 upcast": gpt2_config(reorder_and_upcast_attn=True, attn_implementation="eager"),
    "gpt2 narrow mlp, relu": gpt2_config(n_inner=20, activation_function="relu"),
    "gpt2 one head": gpt2_config(n_head=1),
    "gpt2 one layer": gpt2_config(n_layer=1),
    "llama eager": llama_config(attn_implementation="eager"),
    "llama with biases": llama_config(attention_bias=True, mlp_bias=True),
    "llama one kv head": llama_config(num_key_value_heads=1),
    "llama ungrouped": llama_config(num_key_value_heads=4),
    "llama wide heads": llama_config(head_dim=24),
    "llama tied": llama_config(tie_word_embeddings=True),
    "llama 3 positions": llama_config(rope_parameters=LLAMA3),
    "llama linear positions": llama_config(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}),
    "mistral without window": mistral_config(sliding_window=None),
    "mistral eager": mistral_config(attn_implementation="eager"),
    "qwen2 windows in later layers": qwen2_config(use_sliding_window=True, sliding_window=3, max_window_layers=1),
    "qwen2 tied": qwen2_config(tie_word_embeddings=True),
    "qwen3 with biases": qwen3_config(attention_bias=True),
    "neox without biases": neox_config(attention_bias=False),
    "neox full rotary": neox_config(
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0}
    ),
    "neox quarter rotary": neox_config(
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}
    ),
    "neox eager, tied": neox_config(attn_implementation="eager", tie_word_embeddings=True),
    "gemma2 without caps": gemma2_config(attn_logit_softcapping=None, final_logit_softcapping=None),
    "gemma2 caps only on logits": gemma2_config(attn_logit_softcapping=None),
    "opt without biases": opt_config(enable_bias=False),
    "opt with norms without weights": opt_config(layer_norm_elementwise_affine=False),
    "opt eager, gelu, not tied": opt_config(
        attn_implementation="eager", activation_function="gelu", tie_word_embeddings=False
    ),
    "gpt-neo without windows": gpt_neo_config(attention_types=[[["global"], 3]]),
    "gpt-neo with windows everywhere": gpt_neo_config(attention_types=[[["local"], 3]], window_size=2),
    "gpt-j full rotary, tied": gptj_config(rotary_dim=8, tie_word_embeddings=True),
    "phi with norms of queries and keys": phi_config(qk_layernorm=True),
    "phi grouped, eager": phi_config(num_key_value_heads=2, attn_implementation="eager"),
    "phi3 without window, full rotary": phi3_config(sliding_window=None, partial_rotary_factor=1.0),
    "phi3 ungrouped, tied, eager": phi3_config(
        num_key_value_heads=4, tie_word_embeddings=True, attn_implementation="eager"
    ),
    "phi3 long": phi3_config(rope_parameters=LONG, original_max_position_embeddings=16),
    "stablelm parallel": stablelm_config(use_parallel_residual=True),
    "stablelm with a norm for each head, eager": stablelm_config(qk_layernorm=True, attn_implementation="eager"),
    "stablelm with a norm for each head, one kv head": stablelm_config(qk_layernorm=True, num_key_value_heads=1),
    "toy with one kv head": toy_config(num_key_value_heads=1),
    "toy looking both ways": toy_config(causal=False),
    "toy relu": toy_config(activation="relu"),
    "toy with separate inputs, both ways": toy_config(separate_inputs=True, causal=False),
    "toy with separate inputs, no norms": toy_config(separate_inputs=True, norms=False, causal=False),
}

VARIANTS |= {
    "gemma eager": gemma_config(attn_implementation="eager"),
    "gemma with biases": gemma_config(attention_bias=True),
    "gemma3 without windows and caps": gemma3_config(layer_types=["full_attention"] * 3, final_logit_softcapping=None),
    "gemma3 one kv head, eager": gemma3_config(num_key_value_heads=1, attn_implementation="eager"),
    "smollm3 without positions": smollm3_config(no_rope_layers=[0, 0, 0], use_sliding_window=False),
    "smollm3 with biases": smollm3_config(attention_bias=True, mlp_bias=True),
    "starcoder2 without biases and windows": starcoder2_config(use_bias=False, sliding_window=None),
    "granite with biases": granite_config(attention_bias=True, mlp_bias=True),
    "granite without multipliers": granite_config(residual_multiplier=1.0, logits_scaling=1.0),
    "olmo2 ungrouped": olmo2_config(num_key_value_heads=4),
    "olmo2 one kv head, eager": olmo2_config(num_key_value_heads=1, attn_implementation="eager"),
    "olmo3 without windows": olmo3_config(layer_types=["full_attention"] * 3),
    "mixtral one expert": mixtral_config(num_experts_per_tok=1),
    "mixtral expert by expert": mixtral_config(experts_implementation="eager"),
    "qwen3-moe every other layer": qwen3_moe_config(mlp_only_layers=[], decoder_sparse_step=2),
    "qwen3-moe weights that sum to one": qwen3_moe_config(norm_topk_prob=True, mlp_only_layers=[]),
    "qwen3-moe windows": qwen3_moe_config(use_sliding_window=True, sliding_window=3),
}


@pytest.mark.parametrize("variant", thinned([()], list(VARIANTS), one_in=2))
def test_every_variant_is_exact(variant: str) -> None:
    """Loads; masks at both ends; EAP is the gradient; exact is one masked run; circuits sparse and dense."""
    on = ew.load(make_model(VARIANTS[variant]))
    of = pairs() if on.causal else replace(pairs(), after="prompt")
    replacement, graph = corrupted_run(on, of), on.graph
    clean, replaced = (on.logits(tokens, of.positions) for tokens in (of.clean, of.corrupted))
    ones = graph.edge_mask.float().requires_grad_()
    walked = masked_forward(on, of.clean, of.positions, ones, replacement)
    assert distance(walked.detach(), clean) < 1e-5
    zeros = torch.zeros(graph.edge_mask.shape)
    walked_without = masked_forward(on, of.clean, of.positions, Mask(zeros, candidates=graph.edge_mask), replacement)
    assert distance(walked_without, replaced) < 1e-5
    metric = logit_diff(walked, Answers(of.correct, of.wrong), clean).mean()
    gradient = torch.autograd.grad(metric, ones)[0] * graph.edge_mask
    assert distance(ew.attribute(on, of, method="eap", batch_size=2).values, gradient) < 1e-5
    exact = ew.attribute(on, of, method="exact", batch_size=2)
    for edge in graph.edges[:: max(1, graph.n_edges // 8)]:
        without = ew.Circuit.full(graph) - ew.Circuit.from_edges(graph, [edge])
        drop = float(metric.detach()) - ew.evaluate(on, without, of, random=None)["logit_diff"].circuit
        assert abs(exact[edge] - drop) < 1e-5 * max(1.0, float(clean.abs().max()))
    circuit = random_circuit(on, 0.3, seed=1)
    sparse = masked_forward(on, of.clean, of.positions, circuit.mask, replacement)
    dense = masked_forward(on, of.clean, of.positions, Mask(circuit.mask, candidates=graph.edge_mask), replacement)
    assert distance(sparse, dense) < 1e-5


def test_graphs_follow_the_config() -> None:
    graph = make_subject(llama_config(num_key_value_heads=1)).graph
    assert (graph.layers, graph.heads, graph.kv_heads, graph.parallel) == (3, 4, 1, False)
    assert make_subject(neox_config()).graph.parallel
    assert not make_subject(neox_config(use_parallel_residual=False)).graph.parallel
    assert not make_subject(toy_config(mlps=False)).graph.mlps


def test_the_attention_kernel_may_change_under_way() -> None:
    """Contexts are kept by kernel: a mask made for one is no use to another."""
    on, of = make_subject(mistral_config()), pairs()
    expected = ew.attribute(on, of, method="exact").values
    on.model.set_attn_implementation("eager")
    assert distance(ew.attribute(on, of, method="exact").values, expected) < 1e-5


def test_many_widths_do_not_pile_up() -> None:
    on, of = make_subject(gpt2_config()), pairs()
    for width in range(2, 20):
        tokens = of.clean[:, :1].expand(-1, width)
        on.context(width)
        assert record(on, tokens, torch.full((5,), width - 1)).final_in.shape[1] == width
    assert len(on._contexts._kept) <= 8


@pytest.mark.parametrize(
    "config",
    [
        gpt2_config(),
        llama_config(),
        neox_config(),
        gemma2_config(),
        opt_config(),
        gptj_config(),
        phi_config(),
        gemma3_config(),
        granite_config(),
        olmo2_config(),
        toy_config(norms=False),
        toy_config(separate_inputs=True),
    ],
)
def test_unembed_and_embed_are_the_models_own(config: Any) -> None:
    on, of = make_subject(config), pairs()
    recording = record(on, of.clean, of.positions)
    rows = torch.arange(len(of))
    assert distance(on.unembed(recording.final_in[rows, of.positions]), on.logits(of.clean, of.positions)) < 1e-6
    assert torch.equal(on.embed(of.clean), recording.writes.inputs)
    assert recording.writes.inputs.shape[2] == len(on.graph.inputs)
    assert torch.equal(recording.writes.stream, recording.attention_in[0])
