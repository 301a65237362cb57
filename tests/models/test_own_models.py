"""Models cut, pruned or written by the user: what does not fit is said in one sentence, what fits loads."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.families import CONFIGS, TOY, gpt2_config, llama_config, make_model, toy_config
from torch import nn

import edgewise as ew
from edgewise.errors import UnsupportedModel
from edgewise.models.toy import ToyTransformer

KNOWN = ew.FAMILIES


def refused(model: nn.Module, family: ew.Family) -> str:
    """The one sentence with which a model is refused."""
    with pytest.raises(UnsupportedModel) as caught:
        ew.load(model, family=family)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
        "Own: its config has no number num_hidden_layers, which edgewise needs; "
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
        (strict, "Own must accept input_ids, use_cache and logits_to_keep and return an object with logits"),
        (bare, "Own must accept input_ids, use_cache and logits_to_keep and return an object with logits"),
        (
            nameless,
            "attention='attention' is called with hidden_states=, and the forward of ToyAttention takes no such",
        ),
        (
            lambda model: setattr(model, "get_output_embeddings", lambda: None),
            "get_output_embeddings.* returns no module",
        ),
    ],
)
def test_a_model_that_cannot_be_called_as_others_are(change: Any, expected: str) -> None:
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
