"""A declaration that is wrong is refused in one sentence that names the field."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from support.families import CONFIGS, FAMILIES, gpt2_config, llama_config, make_model, neox_config, toy_config
from torch import nn

import edgewise as ew
from edgewise.errors import InvalidValue, UnsupportedModel

KNOWN = ew.FAMILIES


def refused(model: nn.Module, family: ew.Family) -> str:
    """The one sentence with which a model is refused."""
    with pytest.raises(UnsupportedModel) as caught:
        ew.load(model, family=family)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def declared(name: str, **changes: Any) -> ew.Family:
    return replace(KNOWN[name], name="mine", **changes)


# -- by itself --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("name", "", "a word"),
        ("architectures", (), "a tuple of one class name or more"),
        ("architectures", "LlamaForCausalLM", "a tuple of one class name or more"),
        ("architectures", (nn.Linear,), "a tuple of one class name or more"),
        ("blocks", None, "the path of a module"),
        ("attention", "", "the path of a module"),
        ("final_norm", 3, "the path of a module"),
        ("mlp_post", None, "the path of a module, or empty"),
        ("projections", "separate", "a layout: Separate, FusedBlocks, FusedHeads"),
        ("projections", nn.Linear, "a layout: Separate, FusedBlocks, FusedHeads"),
        ("projection_names", "q_proj", "a tuple of names"),
        ("projection_names", ("q_proj", "k_proj"), "3 names, since projections=Separate"),
        ("projections", ew.FusedBlocks, "1 name, since projections=FusedBlocks"),
        ("norm", "rms", r"one of NormKind.LAYER, NormKind.RMS"),
        ("handled", {"scale": 1.0}, "a mapping from config attributes to tuples"),
        ("handled", ("scale",), "a mapping from config attributes to tuples"),
        ("native", "scale", "a tuple of names"),
        ("inputs", ["embed"], "a tuple of names"),
        ("parallel", None, "the name of a config attribute, or True or False"),
        ("exact", None, "a text"),
    ],
)
def test_a_field_that_cannot_be_right(field: str, value: Any, wanted: str) -> None:
    with pytest.raises(InvalidValue, match=wanted) as caught:
        replace(KNOWN["llama"], **{field: value})
    assert "projection_names=" in str(caught.value) or f"{field}=" in str(caught.value)


def test_what_load_takes_for_a_family() -> None:
    model = make_model(llama_config())
    with pytest.raises(InvalidValue, match=r"family must be an edgewise\.Family or none, not 'llama'"):
        ew.load(model, family="llama")  # type: ignore[arg-type]
    other = declared("llama", architectures=("OtherForCausalLM",))
    assert refused(model, other) == "family 'mine' is for architectures=('OtherForCausalLM',), not for LlamaForCausalLM"


# -- beside a model ---------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, ew.Family, str]] = {
    "no such path": (
        llama_config(),
        declared("llama", attention="self_atn"),
        r"attention='self_atn' names nothing in model.layers.0 \(LlamaDecoderLayer\); did you mean 'self_attn'\?",
    ),
    "nothing like it": (
        llama_config(),
        declared("llama", blocks="zzz"),
        r"blocks='zzz' names nothing in the model \(LlamaForCausalLM\); its parts are model, lm_head",
    ),
    "no final norm": (llama_config(), declared("llama", final_norm="model.norms"), "did you mean 'model.norm'"),
    "a weight": (
        llama_config(),
        declared("llama", output="o_proj.weight"),
        r"output='o_proj.weight' is no module but a Parameter in model.layers.0.self_attn \(LlamaAttention\)",
    ),
    "one block": (
        llama_config(),
        declared("llama", blocks="model.layers.0"),
        "blocks=.* is a LlamaDecoderLayer, not the list",
    ),
    "a projection that is none": (
        CONFIGS["qwen3"](),
        declared("qwen3", projection_names=("q_norm", "k_proj", "v_proj")),
        r"projection_names=.* names 'q_norm', which is not a linear map: Qwen3RMSNorm",
    ),
    "an output that is none": (
        CONFIGS["qwen3"](),
        declared("qwen3", output="q_norm"),
        "output='q_norm' names a module that is not a linear map: Qwen3RMSNorm",
    ),
    "three for one": (
        gpt2_config(),
        declared("gpt2", projections=ew.Separate, projection_names=("c_attn", "c_attn", "c_attn")),
        r"projections=Separate asks for 'c_attn' to map 32 to 32 numbers \(4 heads of 8\), and it maps 32 to 96",
    ),
    "fused, with shared keys": (
        llama_config(),
        declared("llama", projections=ew.FusedHeads, projection_names=("q_proj",)),
        "projections=FusedHeads has a k and a v for each of 4 heads, the config 2",
    ),
    "blocks for heads": (
        neox_config(),
        declared("gpt-neox", projections=ew.FusedBlocks),
        "projections=FusedBlocks takes some",
    ),
    "heads for blocks": (
        gpt2_config(),
        declared("gpt2", projections=ew.FusedHeads),
        "projections=FusedHeads takes some",
    ),
    "queries and keys in another order": (
        llama_config(num_key_value_heads=4),
        declared("llama", projection_names=("k_proj", "q_proj", "v_proj")),
        "projections=Separate takes something else for the queries",
    ),
    "keys and values in another order": (
        llama_config(),
        declared("llama", projection_names=("q_proj", "v_proj", "k_proj")),
        "projections=Separate takes something else for the values",
    ),
    "RMS where the mean is taken off": (
        gpt2_config(),
        declared("gpt2", norm=ew.NormKind.RMS),
        r"norm=NormKind.RMS does not give what 'ln_1' \(LayerNorm\) gives; NormKind.LAYER does",
    ),
    "the mean taken off where it is not": (
        llama_config(),
        declared("llama", norm=ew.NormKind.LAYER),
        r"norm=NormKind.LAYER does not give .* NormKind.RMS does",
    ),
    "gain without one": (
        CONFIGS["gemma2"](),
        declared("gemma2", norm=ew.NormKind.RMS),
        r"norm=NormKind.RMS does not give .* NormKind.RMS_PLUS_ONE does",
    ),
    "gain with one": (
        llama_config(),
        declared("llama", norm=ew.NormKind.RMS_PLUS_ONE),
        r"norm=NormKind.RMS_PLUS_ONE does not give .* NormKind.RMS does",
    ),
    "parallel by no attribute": (
        neox_config(),
        declared("gpt-neox", parallel="use_parallel"),
        "parallel='use_parallel' is no attribute of GPTNeoXConfig",
    ),
    "parallel and not said": (
        neox_config(),
        declared("gpt-neox", parallel="", native=("use_parallel_residual",)),
        "parallel='' is wrong: in layer 0 the MLP reads what attention reads",
    ),
    "said and not parallel": (
        neox_config(use_parallel_residual=False),
        declared("gpt-neox", parallel="attention_bias", native=("use_parallel_residual",)),
        "parallel='attention_bias' is wrong: in layer 0 the MLP reads what attention has added to",
    ),
    "norms in another order": (
        llama_config(),
        declared("llama", attention_norm="post_attention_layernorm", mlp_norm="input_layernorm"),
        "attention_norm='post_attention_layernorm' is not what q_proj reads in layer 0",
    ),
    "the norm after for the norm before": (
        CONFIGS["gemma2"](),
        declared("gemma2", mlp_norm="post_attention_layernorm"),
        "mlp_norm='post_attention_layernorm' is not what 'mlp' reads in layer 0",
    ),
    "part of an MLP": (
        llama_config(),
        declared("llama", mlp="mlp.down_proj"),
        "mlp_norm='post_attention_layernorm' is not what 'mlp.down_proj' reads in layer 0",
    ),
    "the first half of an MLP": (
        gpt2_config(),
        declared("gpt2", mlp="mlp.c_fc"),
        "mlp='mlp.c_fc' gives 128 numbers a token in layer 0, not 32",
    ),
    "a norm after that is left out": (
        CONFIGS["gemma2"](),
        declared("gemma2", attention_post=""),
        r"after layer 0: what its heads write is not what attention adds \(output, attention_post\)",
    ),
    "another norm after that is left out": (
        CONFIGS["gemma2"](),
        declared("gemma2", mlp_post=""),
        r"after layer 0: what its MLP writes is not what is added \(mlp, mlp_post\)",
    ),
    "not the last norm": (
        llama_config(),
        declared("llama", final_norm="model.layers.1.input_layernorm"),
        "final_norm='model.layers.1.input_layernorm' is not what the unembedding reads",
    ),
    "never called": (
        toy_config(),
        declared("toy", mlp_norm="attention.q_proj"),
        "mlp_norm='attention.q_proj' is not what 'mlp'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_field_that_does_not_fit_the_model(case: str) -> None:
    config, family, expected = WRONG[case]
    sentence = refused(make_model(config), family)
    assert re.search(expected, sentence), sentence


@pytest.mark.parametrize("family", FAMILIES)
def test_the_families_themselves_fit(family: str) -> None:
    model = make_model(CONFIGS[family]())
    name = type(model).__name__
    own = next(known for known in KNOWN.values() if name in known.architectures)
    ew.load(model, family=replace(own, name="mine"))


def test_heads_that_are_coupled_are_refused() -> None:
    """What is taken for one head's value reaches another's output."""
    model: Any = make_model(llama_config())
    attention = model.model.layers[0].self_attn
    attention.o_proj.register_forward_pre_hook(lambda _, args: (args[0] + args[0].roll(8, dims=-1),), prepend=True)
    assert "projections=Separate takes something else for the values" in refused(model, declared("llama"))


def test_norms_that_no_kind_fits() -> None:
    model: Any = make_model(llama_config())
    model.model.layers[0].input_layernorm.register_forward_hook(lambda _, args, out: out.tanh())
    assert "norm=NormKind.RMS does not give what 'input_layernorm' (LlamaRMSNorm) gives; nor does any other" in refused(
        model, declared("llama")
    )


def test_what_attention_adds_is_seen_beside_huge_numbers() -> None:
    """Trained models have tokens with a few numbers a thousand times the others'; attention adds little to them."""
    model: Any = make_model(llama_config())
    model.model.embed_tokens.weight[:, 0] += 30_000.0
    assert not ew.load(model).graph.parallel
    with pytest.raises(UnsupportedModel, match=r"parallel=True is wrong: in layer 0 the MLP reads what attention has"):
        ew.load(model, family=declared("llama", parallel=True))
