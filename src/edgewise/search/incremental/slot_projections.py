"""SlotProjections: the q, k and v projections of some heads alone."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.functional import linear

from edgewise.models.subject import Subject


@final
class SlotProjections:
    """What the projections of a layer give for the stream that their norm reads."""

    def __init__(self, subject: Subject) -> None:
        self._blocks, self._dtype = subject.blocks, subject.dtype
        # Views of what is stored; what has to be made is made again each time.
        self._parts = [block.projections.parts() if block.projections.stored else None for block in subject.blocks]

    def __call__(self, layer: int, slots: list[int], stream: Tensor) -> Tensor:
        """Outputs of the projections of some slots, in order, for one stream: [trial, token, slot, d_head]."""
        block, outputs = self._blocks[layer], []
        normed = block.attention_norm(stream.to(block.device, self._dtype))
        for part in self._parts[layer] or block.projections.parts():
            if rows := [slot - part.start for slot in slots if part.start <= slot < part.stop]:
                chosen = slice(rows[0], rows[-1] + 1) if rows == [*range(rows[0], rows[-1] + 1)] else rows  # a view
                weight, bias = part.weight[chosen], None if part.bias is None else part.bias[chosen].flatten()
                weight, bias = weight.to(normed.dtype), None if bias is None else bias.to(normed.dtype)
                outputs.append(linear(normed, weight.flatten(0, 1), bias).unflatten(-1, weight.shape[:2]))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-2)
