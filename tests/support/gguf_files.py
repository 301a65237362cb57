"""Tiny GGUF files, written from Hugging Face models the way llama.cpp's converter lays them out."""

from __future__ import annotations

from pathlib import Path
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
ENTRIES = {
    "llama": RMS,
    "qwen2": RMS,
    "qwen3": {**RMS, "attention.key_length": "head_dim", "attention.value_length": "head_dim"},
    "gpt2": {**SHAPES, "attention.layer_norm_epsilon": "layer_norm_epsilon"},
    "gemma2": {**WINDOWED, **CAPPED},
}


def write_gguf(
    path: Path,
    model: Any,
    architecture: str,
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    tokenizer: bool = True,
    parts: int = 1,
    **entries: Any,
) -> Path:
    """The file of a model; `entries` of metadata, with `__` for a dot, come on top of what its config says."""
    writer = GGUFWriter(path, architecture)
    writer.add_name("tiny")
    said = {key: getattr(model.config, name) for key, name in ENTRIES[architecture].items()}
    if (rope := getattr(model.config, "rope_parameters", None)) is not None:
        said["rope.freq_base"] = float(rope["rope_theta"])
    for key, value in {**said, **{key.replace("__", "."): value for key, value in entries.items()}}.items():
        _add(writer, f"{architecture}.{key}", value)
    if parts > 1:
        writer.add_uint16("split.count", parts)
    if tokenizer:
        _add_tokenizer(writer, int(model.config.vocab_size))
    for name, array in tensors(model, architecture).items():
        fits = array.ndim > 1 and array.shape[-1] % 32 == 0
        stored = kind if fits else GGMLQuantizationType.F32
        writer.add_tensor(name, quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(model: Any, architecture: str) -> dict[str, np.ndarray]:
    """The weights as such a file has them: other names, rotated pairs side by side, norms with their one."""
    kind = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(MODEL_ARCH(kind), int(model.config.num_hidden_layers))
    found = {}
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
        found[f"{names.get_name(stem)}.{ending}"] = np.ascontiguousarray(array)
    return found


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
