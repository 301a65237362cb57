"""Rotary angles of a GGUF file: what transformers drops of them is put into the config.

Files of Llama-3.1 and later, and of Phi-3 and 4 with long contexts, hold factors by which angles are divided, one for each
pair of coordinates, as tensors. A config says the same with the type "longrope", which has such lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgewise.errors import UnsupportedModel
from edgewise.loading.header import Header

# The factors of all prompts; and those of prompts within the original context and beyond it.
ALWAYS, WITHIN, BEYOND = "rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"
FACTORS = (ALWAYS, WITHIN, BEYOND)
# Entries that are said by the type "longrope" too.
OF_FACTORS = ("rope.scaling.type", "rope.scaling.attn_factor", "rope.scaling.original_context_length")
# Models that may turn a part of each head's coordinates alone, of which transformers does not take over how many.
PARTLY_TURNED = ("phi3", "stablelm")


def settle_factors(config: Any, header: Header, path: Path) -> tuple[str, ...]:
    """Puts the file's factors into the config; the entries of metadata that are settled with them.

    UnsupportedModel for factors that the config cannot say.
    """
    if not (present := [name for name in FACTORS if name in header.tensors]):
        return ()
    within, beyond = (ALWAYS, ALWAYS) if present == [ALWAYS] else (WITHIN, BEYOND)
    scaling = header.own.get("rope.scaling.type", "none")
    alone = {within, beyond} == set(present) and scaling in ("none", "longrope")
    original = header.own.get("rope.scaling.original_context_length") if within == WITHIN else None
    original = int(original or config.max_position_embeddings)
    angles = {
        "rope_type": "longrope",
        "short_factor": _numbers(path, within) if alone else [],
        "long_factor": _numbers(path, beyond) if alone else [],
        "original_max_position_embeddings": original,
        "attention_factor": float(header.own.get("rope.scaling.attn_factor", 1.0)),
    }
    if not alone or "full_attention" in (getattr(config, "rope_parameters", None) or {}):
        raise UnsupportedModel(f"{path}: {' and '.join(present)} with rope.scaling.type {scaling!r} is not read")
    if not set_rope(config, "full_attention", **angles):
        raise UnsupportedModel(f"{path}: {header.architecture} has no rotary angles, and the file has {present[0]}")
    if hasattr(config, "original_max_position_embeddings"):
        config.original_max_position_embeddings = original
    return OF_FACTORS


def set_rope(config: Any, kind: str, **values: Any) -> bool:
    """Puts values into the config's rotary angles, of one kind of layer where there are several; False if it has none."""
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict):
        return False
    if "rope_theta" not in rope and kind in rope:
        rope = rope[kind]
    elif kind != "full_attention":
        return False
    rope.update(values)
    return True


def set_turned(config: Any, count: int) -> bool:
    """Makes the model turn so many coordinates of a head; False where its config cannot say that."""
    if count != _turned(config) and config.model_type in PARTLY_TURNED:
        set_rope(config, "full_attention", partial_rotary_factor=count / _head(config))
    return count == _turned(config)


def _turned(config: Any) -> int:
    """How many coordinates of a head are turned."""
    rope = getattr(config, "rope_parameters", None) or {}
    share = rope.get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0
    return int(_head(config) * float(share))


def _head(config: Any) -> int:
    return getattr(config, "head_dim", None) or int(config.hidden_size) // int(config.num_attention_heads)


def _numbers(path: Path, name: str) -> list[float]:
    from gguf import GGUFReader, dequantize

    tensor = next(tensor for tensor in GGUFReader(path).tensors if tensor.name == name)
    return dequantize(tensor.data, tensor.tensor_type).flatten().tolist()
