"""Safetensors files as values: tensors by name, and texts beside them."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from edgewise.errors import FileError
from edgewise.store.json_text import parse


def unpacked(data: bytes, name: str) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """The texts and the tensors of a safetensors file; FileError, with its `name`, if it is none or cut short."""
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise FileError(f"{name} is truncated or not a safetensors file: {first:.160}") from None
    # `load` does not return the metadata; the format is an 8-byte length and then a JSON header.
    return parse(data[8 : 8 + int.from_bytes(data[:8], "little")], name).get("__metadata__") or {}, tensors
