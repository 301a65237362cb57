"""The shared contraction: score[w, r] = Σ over tokens and d_model of delta_w · gradient at reader r's own input.

The gradient at a head's own residual input is J_normᵀ W_rᵀ G_r with G_r the gradient at the projection's output, so all
readers of a layer come from one batched product, and all their scores from one more.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgewise.engine.board import Workspace
from edgewise.engine.record import Gradients, Recording
from edgewise.engine.writes import Writes, expand, token_chunks
from edgewise.graph import Graph
from edgewise.models.family import Block
from edgewise.models.norms import NormKind
from edgewise.models.subject import Subject

# Readers of so many layers share one product with the writers: a wider product runs closer to the processor's speed, at
# the price of some writers the earlier of these layers do not read.
LAYERS_AT_ONCE = 2


def contract(subject: Subject, deltas: Writes, recording: Recording, gradients: Gradients) -> Tensor:
    """Scores [writer, reader], summed over the examples of the batch, in the subject's work dtype.

    `deltas`: clean minus replacement, [example, position, ..]; `recording`, `gradients`: those of the run at whose point
    the gradient was taken. Entries that are no edges are meaningless.
    """
    graph, d = subject.graph, subject.d_model
    flat, pull = deltas.flat(), _Pull(subject, recording, gradients)
    scores = flat.inputs.new_zeros(len(graph.writers), len(graph.readers))
    groups = list(_groups(graph))
    widest = max(group.stop - group.start for group, _ in groups)
    space = Workspace()
    for rows in token_chunks(len(flat.inputs), (len(graph.writers) + widest) * d * scores.itemsize):
        size = rows.stop - rows.start
        writers = expand(subject, flat, rows, space.take("writers", (len(graph.writers), size, d), scores))
        if subject.final_norm.centred:
            # Centring, the last step of every norm's transposed Jacobian, may as well be done to the writers.
            writers -= writers.mean(dim=-1, keepdim=True)
        writers, pulled = writers.flatten(1), space.take("readers", (widest, size, d), scores)
        for readers, reach in groups:
            pull.into(pulled, readers, rows)
            count = readers.stop - readers.start
            scores[:reach, readers] += writers[:reach] @ pulled[:count].flatten(1).T
        scores[:, -1] += writers @ gradients.final.flatten(0, 1)[rows].to(scores.dtype).flatten()
    return scores


def _groups(graph: Graph) -> Iterator[tuple[slice, int]]:
    """Readers of consecutive layers, and how many writers the last of them reads."""
    for first in range(0, graph.layers, LAYERS_AT_ONCE):
        stop = min(graph.layers, first + LAYERS_AT_ONCE)
        last = graph.mlp_reader(stop - 1) if graph.mlps else graph.q_readers(stop - 1).start
        yield slice(first * graph.readers_per_layer, stop * graph.readers_per_layer), graph.reach(last)


class _Pull:
    """Pulls the gradients of one run back to the inputs of the readers, but for the centring of the norms."""

    def __init__(self, subject: Subject, recording: Recording, gradients: Gradients) -> None:
        self.subject, self.recording, self.gradients = subject, recording, gradients
        self.constants = [self._constant(block) for block in subject.blocks]

    def into(self, out: Tensor, readers: slice, rows: slice) -> None:
        """Fill the first rows of `out` [reader, token, d_model] with the gradients of whole layers of readers."""
        per_layer = self.subject.graph.readers_per_layer
        for number, layer in enumerate(range(readers.start // per_layer, readers.stop // per_layer)):
            part = out[number * per_layer : (number + 1) * per_layer]
            heads = self.subject.blocks[layer].projections.readers
            self._heads(layer, part[:heads], rows)
            if self.subject.graph.mlps:
                self._mlp(layer, part[heads], rows)

    def _heads(self, layer: int, out: Tensor, rows: slice) -> None:
        block, dtype = self.subject.blocks[layer], out.dtype
        gradient = self.gradients.heads[layer].flatten(0, 1)[rows].to(dtype)
        x = self.recording.attention_in[layer].flatten(0, 1)[rows].to(dtype)
        normed, scale = block.attention_norm.normalise(x)
        gradient = gradient * scale[:, None]
        by_head = gradient.transpose(0, 1)
        for part in block.projections.parts():
            torch.bmm(by_head[part.start : part.stop], part.weight.to(dtype), out=out[part.start : part.stop])
        if block.attention_norm.kind is NormKind.NONE:
            return
        out.mul_(block.attention_norm.gain(x))
        # The part along the normalised input: its product with W x̂ γ, which is the projection's output less a constant.
        projected = self.gradients.projected[layer].flatten(0, 1)[rows].to(dtype) - self.constants[layer]
        along = (gradient * projected).sum(dim=-1).T / x.shape[-1]
        out.addcmul_(along[..., None], normed, value=-1)

    def _mlp(self, layer: int, out: Tensor, rows: slice) -> None:
        norm = self.subject.blocks[layer].mlp_norm
        assert norm is not None
        gradient = self.gradients.mlp[layer].flatten(0, 1)[rows].to(out.dtype)
        x = self.recording.mlp_in[layer].flatten(0, 1)[rows].to(out.dtype)
        normed, scale = norm.normalise(x)
        torch.mul(gradient, norm.gain(x) * scale, out=out)
        if norm.kind is not NormKind.NONE:
            out.sub_(normed * (out * normed).mean(dim=-1, keepdim=True))

    def _constant(self, block: Block) -> Tensor:
        """What the projections give for a normalised input of zero: [reader, d_head]."""
        like = torch.empty(self.subject.d_model, dtype=self.subject.work_dtype, device=self.subject.device)
        shift, constants = block.attention_norm.shift(like), []
        for part in block.projections.parts():
            constant = part.weight.to(like.dtype) @ shift
            constants.append(constant if part.bias is None else constant + part.bias)
        return torch.cat(constants)
