"""Where heads look: the attention weights of a native run, read off the model's own attention modules.

What a head gives is Σ_k weight[q, k] · value_k. Give it, in the place of its values, the unit vectors of as many positions as
a head has dimensions, and it gives its weights to these positions. So no attention is computed by formulas of ours: angles,
masks, windows and soft caps are the model's, and weights come in its own dtype.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from edgewise.engine.native import native_attention, project
from edgewise.engine.record import record
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject


@torch.no_grad()
def attention_weights(subject: Subject, tokens: Tensor, positions: Tensor) -> Generator[Tensor, None, None]:
    """The weights of each layer in a clean run of `tokens` [example, position]: float32 [example, head, query, key].

    Layer by layer, on the layer's device; to be closed, so that the model is as before whatever happens between. `positions`
    [example] are where answers are read; they change no weight.
    """
    graph, width = subject.graph, tokens.shape[1]
    with steady(subject.model):
        streams = record(subject, tokens, positions).attention_in
        contexts = subject.context(width)
        for layer, block in enumerate(subject.blocks):
            projected = project(block, streams[layer], slice(None))
            values = projected[:, :, graph.heads + graph.kv_heads :]
            size, parts = projected.shape[-1], []
            for start in range(0, width, size):
                values.copy_(_unit_vectors(start, width, size).to(values)[:, None])
                z = native_attention(subject, block, contexts[layer], projected, range(graph.kv_heads))
                parts.append(z.unflatten(-1, (graph.heads, -1)).transpose(1, 2).float())
            yield torch.cat(parts, dim=-1)[..., :width]


def _unit_vectors(start: int, width: int, size: int) -> Tensor:
    """[position, size]: the position start + i has the unit vector i, those before and after nothing."""
    vectors = torch.zeros(width, size)
    count = min(size, width - start)
    vectors[start : start + count, :count] = torch.eye(count)
    return vectors
