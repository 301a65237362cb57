"""The model's own modules on inputs of ours: attention, MLP, and whole runs that go on from a changed residual stream.

Where only one node's input was changed and everything after it is kept, no reader needs an input of its own any more: the
model's own modules finish the run at their own price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from edgewise.models.block import Block
from edgewise.models.hooks import OnInput, forced, hooked
from edgewise.models.subject import Subject


@final
@dataclass(frozen=True)
class Continuation:
    """Finishes runs on a batch of the width `width` whose answers stand at `positions` [example].

    Streams have shape [copies·example, position, d_model]; logits come back as [copies·example, vocab].
    """

    subject: Subject
    positions: Tensor
    width: int

    def after_layer(self, layer: int, stream: Tensor) -> Tensor:
        """Logits, for the stream that leaves `layer`."""
        for later in range(layer + 1, self.subject.graph.layers):
            context = self.subject.context(self.width)[later]
            block = self.subject.blocks[later]
            stream = stream.to(block.device)
            middle = stream + block.attention_write(stream, context)
            if later == self.subject.graph.layers - 1:
                return self.after_last_attention(stream, middle)
            stream = self.after_attention(later, stream, middle)
        return self.subject.unembed(self.answers(stream))

    def after_attention(self, layer: int, before: Tensor, middle: Tensor) -> Tensor:
        """The stream that leaves `layer`, for the streams before and after its attention."""
        block = self.subject.blocks[layer]
        return middle + mlp(block, before if self.subject.graph.parallel else middle)

    def after_last_attention(self, before: Tensor, middle: Tensor) -> Tensor:
        """Logits, for the streams before and after the last attention: the rest needs the answer positions alone."""
        return self.subject.unembed(
            self.after_attention(self.subject.graph.layers - 1, self.answers(before), self.answers(middle))
        )

    def answers(self, stream: Tensor) -> Tensor:
        """The answer positions of a stream, [copies·example, d_model]."""
        if stream.shape[1] == 1:
            return stream[:, 0]
        positions = self.positions.repeat(len(stream) // len(self.positions)).to(stream.device)
        return stream[torch.arange(len(stream), device=stream.device), positions]


def native_attention(
    subject: Subject, block: Block, context: dict[str, Any], projected: Tensor, groups: Sequence[int]
) -> Tensor:
    """`z`, the output projection's input [row, position, head·d_head], by the model's own attention module.

    `projected` [row, position, reader, d_head] are the outputs its q, k and v projections are made to have, of all heads
    of these kv-heads, in graph order.
    """
    outputs = block.projections.join(projected, len(groups))
    width = subject.graph.heads * projected.shape[3]
    seen: list[Tensor] = []

    def catch(z: Tensor) -> Tensor:
        seen.append(z)
        return z.new_empty(0, z.shape[1], width)  # no rows: what the heads write is taken apart by us

    # The module takes only its shape from this: what it would compute from the values is forced.
    shape_only = projected[..., 0, :1].expand(-1, -1, subject.d_model)
    catching = hooked([OnInput(block.output, catch)])
    with forced(block.projections.modules, outputs), catching, block.projections.narrowed(groups):
        block.attention(hidden_states=shape_only, **context)
    return seen[0]


def mlp(block: Block, stream: Tensor) -> Tensor | float:
    """What the MLP of a block adds to the stream; nothing where there is none."""
    return 0.0 if block.mlp is None else block.mlp_write(stream)


def project(block: Block, x: Tensor, slots: list[int] | slice) -> Tensor:
    """Outputs of the projections of the readers `slots` on the residual x [.., d_model]: [.., slot, d_head]."""
    weight, bias = block.projections.rows(slots)
    out = torch.einsum("...d,red->...re", block.attention_norm(x), weight.to(x.dtype))
    return out if bias is None else out + bias.to(x.dtype)
