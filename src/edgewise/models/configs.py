"""Configs are compared whole: what differs from the class's default, and can change the computation, must be known.

An attribute can change what a model computes only if the code of its modules reads it, so one that this code nowhere names
is passed over: files of checkpoints carry many such. Of the others, those in NATIVE do all they do inside modules that are
run as they are, whatever their value; what else a family can take it declares (`handled`, `parallel`, `inputs`).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import InvalidValue, UnsupportedModel
from edgewise.models.family import Family
from edgewise.plugins import described

# Read in the sources of transformers 5.23, class by class: each name means the same in all classes that have it.
_SIZES = """
    vocab_size hidden_size n_embd intermediate_size n_inner ffn_dim moe_intermediate_size head_dim
    num_hidden_layers n_layer num_layers num_attention_heads n_head num_heads num_key_value_heads
    max_position_embeddings n_positions original_max_position_embeddings
"""
_TOKENS = "pad_token_id bos_token_id eos_token_id sep_token_id tie_word_embeddings"
# Of no effect in evaluation mode, on a loaded model, or on logits.
_TRAINING = """
    attention_dropout attn_pdrop resid_pdrop embd_pdrop hidden_dropout resid_dropout embed_dropout residual_dropout
    embedding_dropout dropout classifier_dropout layerdrop router_jitter_noise router_aux_loss_coef
    initializer_range initializer_factor init_std gradient_checkpointing use_cache dtype architectures
    output_attentions output_hidden_states output_router_logits transformers_version name_or_path
"""
# Of other heads put on the same model.
_HEADS = """
    num_labels id2label label2id problem_type summary_type summary_use_proj summary_activation
    summary_proj_to_labels summary_first_dropout summary_last_dropout
"""
# Inside attention: positions, scales, windows, caps, norms of a head's q and k, biases.
_ATTENTION = """
    rope_parameters rope_theta rope_scaling partial_rotary_factor rotary_dim no_rope_layers no_rope_layer_interval
    sliding_window use_sliding_window max_window_layers layer_types window_size attention_layers attention_types
    scale_attn_weights scale_attn_by_inverse_layer_idx reorder_and_upcast_attn query_pre_attn_scalar
    attention_multiplier attn_logit_softcapping qk_layernorm attention_bias use_qkv_bias
"""
# Inside norms and MLPs, before the first block, or after the last norm and done likewise by Subject.unembed.
_REST = """
    layer_norm_epsilon layer_norm_eps rms_norm_eps norm_epsilon hidden_act hidden_activation activation_function
    mlp_bias use_bias enable_bias num_experts num_local_experts num_experts_per_tok norm_topk_prob
    decoder_sparse_step mlp_only_layers embedding_multiplier final_logit_softcapping
"""
NATIVE = frozenset(" ".join((_SIZES, _TOKENS, _TRAINING, _HEADS, _ATTENTION, _REST)).split())
# What no family can do without, asked of every config: the values that are taken; a missing attribute is one of them.
DEMANDED: Mapping[str, tuple[Any, ...]] = {
    "is_heterogeneous": (False,),
    "is_causal": (True,),
    "is_encoder_decoder": (False,),
    "return_dict": (True,),
}
# Shared code that reads the config on behalf of every model.
_SHARED = ("transformers.masking_utils", "transformers.modeling_rope_utils")


def check_tokens(tokens: Tensor, vocabulary: int, longest: int | None, name: str) -> None:
    """InvalidValue for anything but token ids [example, position], for some beyond the vocabulary, and prompts too long."""
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool or not tokens.numel():
        raise InvalidValue(f"tokens must be token ids, int64 [example, position], not {described(tokens)}")
    if int(tokens.max()) >= vocabulary:
        raise InvalidValue(
            f"token id {int(tokens.max())} is outside the vocabulary of {vocabulary}: another model's tokenizer?"
        )
    if longest is not None and tokens.shape[1] > longest:
        raise InvalidValue(f"the prompts have {tokens.shape[1]} tokens, but {name} takes at most {longest}")


def check_positions(positions: Tensor, tokens: Tensor) -> None:
    """InvalidValue for anything but one whole number for each of these prompts; it asks no device for a value."""
    if positions.shape != tokens.shape[:1] or positions.is_floating_point() or positions.dtype == torch.bool:
        raise InvalidValue(f"positions must be int64 [{len(tokens)}], one for each prompt, not {described(positions)}")


def longest_prompt(config: Any) -> int | None:
    """The most tokens that the model of this config takes, if it says so.

    Beyond this the longest prompt of a batch would change the rotary angles of all others, where they go by its length.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    longest = getattr(config, "n_positions", None) or getattr(config, "max_position_embeddings", None)
    limits = [longest] if longest else []
    for angles in (rope, *(kind for kind in rope.values() if isinstance(kind, Mapping))):
        kind = angles.get("rope_type") or ""
        if kind == "longrope":
            limits.append(int(angles["original_max_position_embeddings"]))
        elif "dynamic" in kind and longest:
            # At the limit itself transformers does not take back what a longer run of somebody else's has changed.
            limits.append(longest - 1)
    return min(limits, default=None)


def check_config(model: Any, family: Family) -> None:
    """Refuse, by name and value, attributes of the model's config that change the computation and are not handled."""
    name = type(model).__name__
    for config, where in _configs(model.config):
        for attribute, allowed in {**DEMANDED, **family.handled}.items():
            value = getattr(config, attribute, allowed[0])
            if not any(value is known or value == known for known in allowed):
                raise UnsupportedModel(
                    f"{name} with {where}{attribute}={value!r} is not supported; "
                    f"supported: {', '.join(map(repr, allowed))}"
                )
        for attribute, other in family.equal.items():
            value, needed = getattr(config, attribute, None), getattr(config, other, None)
            if value != needed:
                raise UnsupportedModel(
                    f"{name} with {where}{attribute}={value!r} is not supported; supported: {needed!r}, its {other}"
                )
        for attribute, value, usual in _unknown(model, config, family):
            raise UnsupportedModel(
                f"{name} with {where}{attribute}={value!r} is not known to be handled, only {usual} is; a family that "
                f"handles this value too must name {attribute} in `handled` or `native`"
            )


def _configs(config: Any) -> Iterator[tuple[Any, str]]:
    """The config, and that of the text model where it is one of several in it, with what to write before attributes."""
    yield config, ""
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    if text is not config:
        yield text, next((f"{name}." for name, value in vars(config).items() if value is text), "")


def _unknown(model: Any, config: Any, family: Family) -> Iterator[tuple[str, Any, str]]:
    """Attributes that the code reads and nobody knows how to handle: name, value, and what is said of the default."""
    # A class's own words for what others call by another name, and the configs inside this one.
    synonyms = (own for usual, own in getattr(config, "attribute_map", {}).items() if usual in NATIVE)
    parts = getattr(config, "sub_configs", ())
    known = NATIVE.union(DEMANDED, family.handled, family.native, _named(family), synonyms, parts)
    present: dict[str, Any] = getattr(config, "__dict__", {})
    candidates = sorted(name for name in _names(config) & present.keys() if name not in known)
    read = _read(model, candidates, _declared(config))
    usual = _usual(type(config)) if read else None
    for name in read if usual is not None else ():
        # What the class does not declare is read with a default of the code's own: that the attribute is missing.
        if not hasattr(usual, name):
            yield name, present[name], "a config without it"
        elif not _same(present[name], getattr(usual, name)):
            yield name, present[name], f"the default {getattr(usual, name)!r}"


def _named(family: Family) -> set[Any]:
    """The config attributes that fields of the family name."""
    return {family.parallel, family.multiplier, family.logit_cap, family.logit_divisor, *family.equal}


def _names(config: Any) -> set[str]:
    """What the config's class declares, and whatever else was put on it from a file or by hand."""
    return _declared(config) | {name for name in getattr(config, "__dict__", ()) if not name.startswith("_")}


def _declared(config: Any) -> set[str]:
    return {field.name for field in fields(config)} if is_dataclass(config) else set()


@cache
def _usual(kind: type) -> Any:
    """A config with nothing but defaults; None where the class makes none."""
    try:
        config = kind()
    except Exception:
        return None
    return config if getattr(config, "__dict__", None) else None


def _same(value: Any, default: Any) -> bool:
    return bool(value == default) or (value in (None, False) and default in (None, False))


def _read(model: Any, names: list[str], declared: set[str]) -> list[str]:
    """Those of the names that are written in the code of the model's modules, or in what all models share.

    Of code that cannot be seen we suppose that it reads what the config's class declares.
    """
    homes = {kind.__module__ for module in model.modules() for kind in type(module).__mro__} if names else set()
    words = [_words(home) for home in homes.union(_SHARED)]
    written = frozenset().union(*(some for some in words if some is not None))
    return [name for name in names if name in written or (name in declared and None in words)]


@cache
def _words(home: str) -> frozenset[str] | None:
    """The names that a module's source has after a dot or as a string; None if it cannot be seen.

    None of torch and Python, which know no configs, nor of what transformers has for loading and generating.
    """
    parts = home.split(".")
    if parts[0] in ("torch", "builtins", "abc", "typing") or (
        parts[0] == "transformers" and parts[1] != "models" and home not in _SHARED
    ):
        return frozenset()
    try:
        code = inspect.getsource(sys.modules[home])
    except (OSError, TypeError, KeyError):
        return None
    found = re.finditer(r"""\.([A-Za-z_]\w*)|["']([A-Za-z_]\w*)["']""", code)
    return frozenset(name for match in found for name in match.groups() if name)
