"""Tiny GGUF files, written from Hugging Face models the way llama.cpp's converter lays them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, get_tensor_name_map
from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES
from gguf.quants import quantize

WORDS = ["<end>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", *"0123456789", "th", "the", "Ġthe", "an", "and", "Ġand"]
MERGES = ["t h", "th e", "Ġ the", "a n", "an d", "Ġ and"]
SHAPES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "attention.head_count": "num_attention_heads",
}
GROUPED = {**SHAPES, "feed_forward_length": "intermediate_size", "attention.head_count_kv": "num_key_value_heads"}
RMS = {**GROUPED, "attention.layer_norm_rms_epsilon": "rms_norm_eps"}
WINDOWED = {**RMS, "attention.key_length": "head_dim", "attention.sliding_window": "sliding_window"}
CAPPED = {key: key for key in ("attn_logit_softcapping", "final_logit_softcapping")}
WIDE_HEADS = {**RMS, "attention.key_length": "head_dim", "attention.value_length": "head_dim"}
EXPERTS = {
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
# What each architecture's files say of the config; RMS for those that are not in the list.
ENTRIES = {
    "qwen3": WIDE_HEADS,
    "qwen3moe": {**WIDE_HEADS, **EXPERTS},
    "gpt2": {**SHAPES, "attention.layer_norm_epsilon": "layer_norm_epsilon"},
    "gemma2": {**WINDOWED, **CAPPED},
    "gemma3": {**WINDOWED, "final_logit_softcapping": "final_logit_softcapping"},
    "phi3": {**RMS, "attention.sliding_window": "sliding_window"},
    "stablelm": {
        **GROUPED,
        "attention.layer_norm_epsilon": "layer_norm_eps",
        "use_parallel_residual": "use_parallel_residual",
    },
    "starcoder2": {**GROUPED, "attention.layer_norm_epsilon": "norm_epsilon"},
}


def write_gguf(
    path: Path,
    model: Any,
    architecture: str,
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    tokenizer: bool = True,
    parts: int = 1,
    name: str = "tiny",
    factors: Mapping[str, Sequence[float]] = MappingProxyType({}),
    **entries: Any,
) -> Path:
    """The file of a model; `entries` of metadata, with `__` for a dot, come on top of what its config says.

    `factors`: tensors by which rotary angles are divided.
    """
    writer = GGUFWriter(path, architecture)
    writer.add_name(name)
    said = {key: getattr(model.config, own) for key, own in ENTRIES.get(architecture, RMS).items()}
    said = {key: value for key, value in said.items() if value is not None} | _angles(model.config)
    for key, value in {**said, **{key.replace("__", "."): value for key, value in entries.items()}}.items():
        _add(writer, f"{architecture}.{key}", value)
    if parts > 1:
        writer.add_uint16("split.count", parts)
    if tokenizer:
        _add_tokenizer(writer, int(model.config.vocab_size))
    for tensor, array in tensors(model, architecture).items():
        fits = array.ndim > 1 and array.shape[-1] % 32 == 0
        stored = kind if fits else GGMLQuantizationType.F32
        writer.add_tensor(tensor, quantize(array, stored), raw_dtype=stored)
    for tensor, numbers in factors.items():
        writer.add_tensor(f"{tensor}.weight", np.array(numbers, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(model: Any, architecture: str) -> dict[str, np.ndarray]:
    """The weights as such a file has them: other names, rotated pairs side by side, norms with their one."""
    kind = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(MODEL_ARCH(kind), int(model.config.num_hidden_layers))
    found: dict[str, np.ndarray] = {}
    heads: dict[str, list[np.ndarray]] = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        stem, _, ending = name.rpartition(".")
        array = tensor.numpy()
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):
            array = _pairs_together(array, model.config, stem)
        if architecture == "gpt2" and stem.endswith(("c_attn", "c_fc", "c_proj")) and array.ndim == 2:
            array = array.T
        if architecture in ("gemma2", "gemma3") and stem.endswith("norm"):
            array = array + 1
        if ending == "gate_up_proj":  # of all experts of a layer, in files two tensors
            for half, part in zip(("gate_proj", "up_proj"), np.split(array, 2, axis=1), strict=True):
                found[f"{names.get_name(f'{stem}.{half}')}.weight"] = np.ascontiguousarray(part)
            continue
        if ending == "down_proj":
            stem, ending = name, "weight"
        if "_layernorm.norms" in stem:  # of a head alone, in files one tensor for all heads
            heads.setdefault(stem.partition(".norms")[0], []).append(array)
            continue
        found[f"{names.get_name(stem)}.{ending}"] = np.ascontiguousarray(array)
    return found | {f"{names.get_name(stem)}.weight": np.stack(norms) for stem, norms in heads.items()}


def _angles(config: Any) -> dict[str, Any]:
    """What a file says of rotary positions, for layers with and without a window where they differ."""
    rope = getattr(config, "rope_parameters", None) or {}
    if "full_attention" in rope:
        local = {"rope.freq_base_swa": float(rope["sliding_attention"]["rope_theta"])}
        rope = rope["full_attention"]
    else:
        local = {}
    said: dict[str, Any] = {"rope.freq_base": float(rope["rope_theta"])} if rope else {}
    if rope.get("rope_type") == "linear":
        said |= {"rope.scaling.type": "linear", "rope.scaling.factor": rope["factor"]}
    if (share := rope.get("partial_rotary_factor")) is not None:
        said["rope.dimension_count"] = int(share * config.hidden_size // config.num_attention_heads)
    return {**said, **local}


def _pairs_together(array: np.ndarray, config: Any, stem: str) -> np.ndarray:
    heads = config.num_attention_heads if stem.endswith("q_proj") else config.num_key_value_heads
    return array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    (writer.add_array if isinstance(value, list) else add[type(value)])(key, value)


def _add_tokenizer(writer: GGUFWriter, size: int) -> None:
    words = [*WORDS, *(f"<{i}>" for i in range(size - len(WORDS)))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word.startswith("<") else 1 for word in words])
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(0)
