"""A declaration that is wrong is refused in one sentence that names the field."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from families import CONFIGS, FAMILIES, TOY, gpt2_config, llama_config, make_model, neox_config, toy_config
from torch import nn

import edgewise as ew
from edgewise.errors import InvalidValue, UnsupportedModel
from edgewise.models.toy import ToyTransformer

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
        ("parallel", None, "the name of a config attribute, or empty"),
        ("exact", None, "a text"),
    ],
)
def test_a_field_that_cannot_be_right(field: str, value: Any, wanted: str) -> None:
    with pytest.raises(InvalidValue, match=wanted) as caught:
        replace(KNOWN["llama"], **{field: value})
    assert "projection_names=" in str(caught.value) or f"{field}=" in str(caught.value)


def test_what_load_takes_for_a_family() -> None:
    model = make_model(llama_config())
    with pytest.raises(InvalidValue, match=r"family='llama': it must be an edgewise.Family"):
        ew.load(model, family="llama")  # type: ignore[arg-type]
    other = declared("llama", architectures=("OtherForCausalLM",))
    assert refused(model, other) == "family 'mine' has architectures=('OtherForCausalLM',), not LlamaForCausalLM"


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
        r"projection_names=.* names 'q_norm', a Qwen3RMSNorm, not a linear map",
    ),
    "an output that is none": (
        CONFIGS["qwen3"](),
        declared("qwen3", output="q_norm"),
        "output='q_norm' is a Qwen3RMSNorm",
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
    import re

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


# -- models that are not as their config says -------------------------------------------------------------------------


def cut(family: str, keep: slice) -> Any:
    model: Any = make_model(CONFIGS[family]())
    path, _, last = KNOWN[family].blocks.rpartition(".")
    setattr(model.get_submodule(path), last, model.get_submodule(KNOWN[family].blocks)[keep])
    return model


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_layers_cut_off_in_memory(family: str) -> None:
    """Given a model of three layers of which one was taken off, then the config must say so."""
    model = cut(family, slice(2))
    name, blocks = type(model).__name__, KNOWN[family].blocks
    assert refused(model, KNOWN[family]) == (
        f"{name}: config.num_hidden_layers is 3, but {blocks} holds 2 blocks; "
        "set config.num_hidden_layers = 2 if they are meant to be all"
    )
    model.config.num_hidden_layers = 2
    assert ew.load(model).graph.layers == 2


def test_layers_deleted_in_place() -> None:
    model: Any = make_model(llama_config())
    del model.model.layers[2:]
    assert "config.num_hidden_layers is 3, but model.layers holds 2 blocks" in refused(model, KNOWN["llama"])


def test_heads_pruned_in_memory() -> None:
    model: Any = make_model(llama_config())
    for layer in model.model.layers:
        layer.self_attn.o_proj = nn.Linear(24, 32, bias=False)
    assert "'q_proj' to map 32 to 24 numbers (4 heads of 6), and it maps 32 to 32" in refused(model, KNOWN["llama"])
    gpt2: Any = make_model(gpt2_config())
    gpt2.transformer.h[1].attn.c_attn.nf = 72
    assert "asks for 'c_attn' to map 32 to 96 numbers (12 heads of 8), and it maps 32 to 72" in refused(
        gpt2, KNOWN["gpt2"]
    )


def test_a_width_that_is_not_the_configs() -> None:
    model: Any = make_model(llama_config())
    model.config.hidden_size = 48
    assert "output='o_proj' maps 32 to 32 numbers; config.num_attention_heads=4 and hidden_size=48 ask for" in refused(
        model, KNOWN["llama"]
    )


def test_a_number_of_heads_that_is_not_the_configs() -> None:
    model: Any = make_model(llama_config())
    model.config.num_key_value_heads = 4
    assert "num_key_value_heads=4" in refused(model, KNOWN["llama"])
    model.config.num_key_value_heads = 3
    assert "num_key_value_heads=3 does not divide num_attention_heads=4" in refused(model, KNOWN["llama"])


# -- models of the user's own -----------------------------------------------------------------------------------------


class Own(ToyTransformer):
    """Stands for a class of the user's own."""


OWN = replace(KNOWN["toy"], name="own", architectures=("Own",))


def own(change: Any = None) -> Any:
    model = Own(TOY).requires_grad_(False).eval()
    if change is not None:
        change(model)
    return model


def test_a_model_of_ones_own_loads() -> None:
    assert ew.load(own(), family=OWN).family is OWN


def test_a_config_without_the_numbers() -> None:
    model = own()
    model.config = SimpleNamespace(n_layer=3)
    assert refused(model, OWN) == (
        "Own: its config has no number num_hidden_layers, which edgewise reads there; "
        "give SimpleNamespace an attribute of that name"
    )


def ignoring(model: Any) -> None:
    forward = model.forward
    model.forward = lambda input_ids, **_: forward(input_ids)


def strict(model: Any) -> None:
    forward = model.forward
    model.forward = lambda input_ids: forward(input_ids)


def bare(model: Any) -> None:
    forward = model.forward
    model.forward = lambda *args, **kwargs: (forward(*args, **kwargs).logits,)


def nameless(model: Any) -> None:
    attention = model.layers[0].attention
    forward = attention.forward
    attention.forward = lambda x: forward(x)


def wanting_more(model: Any) -> None:
    """Another argument that is given by place: it is not there when attention is run by itself."""
    for layer in model.layers:
        attention = layer.attention
        forward = attention.forward
        attention.forward = lambda hidden_states, scale, forward=forward: forward(hidden_states) * scale
        attention.register_forward_pre_hook(lambda _, args: (*args, 1.0) if len(args) == 1 else args)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            wanting_more,
            r"Own as family 'own' cannot be walked: .* \(TypeError: .* missing 1 required positional argument: 'scale'",
        ),
        (ignoring, "Own gives logits of 6 positions where logits_to_keep asks for 1"),
        (strict, "Own must be called with input_ids, use_cache and logits_to_keep and give an object with logits"),
        (bare, "Own must be called with input_ids, use_cache and logits_to_keep and give an object with logits"),
        (
            nameless,
            "attention='attention' is called with hidden_states=, and the forward of ToyAttention takes no such",
        ),
        (
            lambda model: setattr(model, "get_output_embeddings", lambda: None),
            "get_output_embeddings.* gives no module",
        ),
    ],
)
def test_a_model_that_cannot_be_called_as_others_are(change: Any, expected: str) -> None:
    import re

    sentence = refused(own(change), OWN)
    assert re.search(expected, sentence), sentence


def test_weights_of_a_norm_of_torchs_own() -> None:
    """nn.RMSNorm keeps no eps of its own unless asked to."""
    model = own()
    for path in ("layers.0.attention_norm", "layers.0.mlp_norm", "layers.1.attention_norm", "layers.1.mlp_norm"):
        owner, _, name = path.rpartition(".")
        setattr(model.get_submodule(owner), name, nn.RMSNorm(32))
    model.layers[2].attention_norm, model.layers[2].mlp_norm, model.norm = (nn.RMSNorm(32) for _ in range(3))
    torch.manual_seed(0)
    subject = ew.load(model, family=replace(OWN, norm=ew.NormKind.RMS))
    assert subject.final_norm.kind is ew.NormKind.RMS
    assert "NormKind.RMS does" in refused(model, OWN)


class Fixed(nn.Module):
    """Attention that goes by a number of heads of its own."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = inner.q_proj, inner.k_proj, inner.v_proj, inner.o_proj
        self.n_heads, self.width = 4, 32

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        batch, length = hidden_states.shape[:2]
        parts = (projection(hidden_states) for projection in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = (x.view(batch, length, self.n_heads, 8).transpose(1, 2) for x in parts)
        z = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(z.transpose(1, 2).reshape(batch, length, self.width))


def test_attention_that_goes_by_a_number_of_heads() -> None:
    """Circuits run a few heads of a layer: the numbers that the code goes by are named, and put back."""
    model: Any = Own(toy_config(num_key_value_heads=4)).requires_grad_(False).eval()
    for layer in model.layers:
        layer.attention = Fixed(layer.attention)
    sentence = refused(model, OWN)
    assert "counts=() does not let Fixed run 1 of its 4 heads (shape " in sentence
    assert "counts=('n_heads',) does not let Fixed run 1 of its 4 heads" in refused(
        model, replace(OWN, counts=("n_heads",))
    )
    assert "counts=('n_head',) names no number of layers.0.attention (Fixed): 'n_head'" in refused(
        model, replace(OWN, counts=("n_head",))
    )
    ew.load(model, family=replace(OWN, counts=("n_heads", "width")))
    assert (model.layers[0].attention.n_heads, model.layers[0].attention.width) == (4, 32)
