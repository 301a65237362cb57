"""Workspace: memory of a run that the next one uses again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor


@final
@dataclass
class Workspace:
    """Memory reused from run to run: fresh pages cost more than the arithmetic done on them."""

    _held: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor of that shape; the next call with the same name may hand out the same memory."""
        size = int(torch.Size(shape).numel())
        held = self._held.get(name)
        if held is None or held.numel() < size or (held.dtype, held.device) != (like.dtype, like.device):
            self._held[name] = held = like.new_empty(size)
        return held[:size].view(shape)
