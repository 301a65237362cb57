"""What a GGUF file says about the computation, and whether the config made from it says the same.

transformers takes over the entries it knows and drops the others in silence. Here every entry is held against the config:
what it drops is put in where its meaning is known, and refused by name where it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewise.errors import UnsupportedModel
from edgewise.loading.angles import set_rope, set_turned, settle_factors
from edgewise.loading.header import Array, Header

# What an entry is called in a config: the first of these that the config has.
ATTRIBUTES = {
    "vocab_size": ("vocab_size",),
    "block_count": ("num_hidden_layers",),
    "context_length": ("max_position_embeddings",),
    "embedding_length": ("hidden_size",),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_attention_heads"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attention.sliding_window": ("sliding_window",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size", "intermediate_size"),
}
# Entries that change nothing, whatever they say; and those that change nothing with this value.
IDLE = ("rope.scaling.finetuned", "rope.scaling.original_context_length", "tensor_data_layout", "use_parallel_residual")
NEUTRAL = {"rope.scaling.type": "none", "attention.causal": True, "expert_count": 0, "expert_used_count": 0}
# Where layers turn with two frequencies, the entry for each of the two.
FREQUENCIES = {"rope.freq_base": "full_attention", "rope.freq_base_swa": "sliding_attention"}


def settle(config: Any, header: Header, path: Path) -> None:
    """Makes the config say what the file says; UnsupportedModel for an entry that it cannot say."""
    if "token_embd.weight" in header.tensors:  # where there is no tokenizer, nothing else may tell
        config.vocab_size = header.tensors["token_embd.weight"][0]
    settled = settle_factors(config, header, path)
    for key, value in header.own.items():
        if key in IDLE or key in settled or NEUTRAL.get(key) == value:
            continue
        if not _said(config, key, value, header.own):
            shown = f"a list of {value.length}" if isinstance(value, Array) else repr(value)
            raise UnsupportedModel(
                f"{path}: {header.architecture}.{key} is {shown}, and the conversion of GGUF files leaves it out"
            )
    if header.architecture in ("gemma2", "gemma3"):
        _settle_gemma(config)
    # Defaults of the class, where the file has no tokenizer to say otherwise.
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if isinstance(token := getattr(config, name, None), int) and token >= config.vocab_size:
            setattr(config, name, None)


def _said(config: Any, key: str, value: Any, entries: Mapping[str, Any]) -> bool:
    """Whether the config says this now."""
    if isinstance(value, Array):
        return False
    if key in FREQUENCIES:
        return set_rope(config, FREQUENCIES[key], rope_theta=float(value))
    if key == "rope.scaling.type":
        factor = float(entries.get("rope.scaling.factor", 0.0))
        return value == "linear" and set_rope(config, "full_attention", rope_type="linear", factor=factor)
    if key == "rope.scaling.factor":
        return entries.get("rope.scaling.type") in ("linear", "none")
    if key == "rope.dimension_count":
        return set_turned(config, int(value))
    return _set(config, key, value, entries)


def _set(config: Any, key: str, value: Any, entries: Mapping[str, Any]) -> bool:
    name = next((name for name in ATTRIBUTES.get(key, ()) if hasattr(config, name)), None)
    if name is None:
        head = int(config.hidden_size) // int(config.num_attention_heads)
        window = key == "attention.sliding_window" and value >= entries.get("context_length", 0)
        return window or (key in ("attention.key_length", "attention.value_length") and value == head)
    if getattr(config, name) != value:
        setattr(config, name, value)
    return True


def _settle_gemma(config: Any) -> None:
    """The scale of attention is no entry: it goes by the width of a head, in the 27B models by the width of the model."""
    head = int(config.head_dim)
    largest = (config.model_type, config.num_hidden_layers) in (("gemma2", 46), ("gemma3_text", 62))
    config.query_pre_attn_scalar = int(config.hidden_size) // int(config.num_attention_heads) if largest else head
