"""The shared contraction: score[w, r] = Σ over tokens and d_model of delta_w · gradient at reader r's own input.

The gradient at a head's own residual input is J_normᵀ W_rᵀ G_r with G_r the gradient at the projection's output, so all
readers of a layer come from one batched product, and all their scores from one more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.engine.record import Gradients, Recording
from edgewise.engine.writes import Writes, expand, token_chunks
from edgewise.models.subject import Subject


def contract(subject: Subject, deltas: Writes, recording: Recording, gradients: Gradients) -> Tensor:
    """Scores [writer, reader], summed over the examples of the batch, in the subject's work dtype.

    `deltas`: clean minus replacement, [example, position, ..]; `recording`, `gradients`: those of the run at whose point
    the gradient was taken. Entries that are no edges are meaningless.
    """
    graph, dtype, d = subject.graph, subject.work_dtype, subject.d_model
    flat = deltas.flat()
    tokens, widest = len(flat.input), graph.readers_per_layer
    scores = torch.zeros(len(graph.writers), len(graph.readers), dtype=dtype, device=subject.device)
    bytes_per_token = (len(graph.writers) + widest) * d * dtype.itemsize
    for rows in token_chunks(tokens, bytes_per_token):
        size = rows.stop - rows.start
        writers = expand(subject, flat, rows, scores.new_empty(len(graph.writers), size, d)).flatten(1)
        pulled = scores.new_empty(widest, size, d)
        for layer in range(graph.layers):
            _pull(subject, layer, recording, gradients, rows, pulled)
            first, reach = layer * widest, graph.writers_before(layer + 1) - 1
            scores[:reach, first : first + widest] += writers[:reach] @ pulled.flatten(1).T
        scores[:, -1] += writers @ gradients.final.flatten(0, 1)[rows].to(dtype).flatten()
    return scores


def _pull(subject: Subject, layer: int, recording: Recording, gradients: Gradients, rows: slice, out: Tensor) -> None:
    """Fill `out` [reader, token, d_model] with the gradients at the inputs of all readers of a layer."""
    block, heads = subject.blocks[layer], subject.blocks[layer].projections.readers
    at_heads = gradients.heads[layer].flatten(0, 1)[rows].to(out.dtype).transpose(0, 1)
    for part in block.projections.parts():
        torch.bmm(at_heads[part.start : part.stop], part.weight.to(out.dtype), out=out[part.start : part.stop])
    x = recording.attention_in[layer].flatten(0, 1)[rows].to(out.dtype)
    block.attention_norm.pull_(out[:heads], x)
    if block.mlp_norm is not None:
        out[heads] = gradients.mlp[layer].flatten(0, 1)[rows]
        block.mlp_norm.pull_(out[heads:], recording.mlp_in[layer].flatten(0, 1)[rows].to(out.dtype))
