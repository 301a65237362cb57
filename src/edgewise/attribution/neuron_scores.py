"""Neuron scores: the coordinates of every writer's output, scored with the gradients of a path.

    score(w, i) = Σ over examples, positions of (clean_w − replaced_w)_i · (gradient at the output of w)_i

The gradient at a writer's output is the sum of those at the inputs of all its readers, so the scores of a writer's neurons
sum to the score of the writer, and that is the sum of the scores of its edges. A neuron here is one of the d_model
coordinates that a writer adds to the residual stream, as in the EAP-IG library and MIB, not a hidden unit of an MLP.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgewise.attribution.reader_gradients import ReaderGradients
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writes import WriteChange
from edgewise.models.subject import Subject


def contract_neurons(subject: Subject, change: WriteChange, slopes: ReaderGradients) -> Tensor:
    """Scores [writer, d_model], summed over the examples of the batch."""
    assert slopes.final is not None
    graph = subject.graph
    scores = slopes.final.new_zeros(len(graph.writers), subject.d_model)
    per_token = 2 * graph.readers_per_layer * subject.d_model * scores.itemsize
    for rows in tiling_for(subject.device).chunks(change.tokens, per_token):
        flat = change.at(rows)
        for layer, at_heads, at_mlp in stream_gradients(subject, slopes, rows):
            if layer < 0:
                scores[: len(graph.inputs)] += (flat.inputs * at_heads[:, None]).sum(dim=0)
                continue
            if graph.mlps:
                scores[graph.mlp_writer(layer)] += (flat.mlp[layer] * at_mlp).sum(dim=0)
            weight = subject.blocks[layer].output_weight.to(scores.dtype)
            heads = torch.einsum("the,td->hed", flat.z[layer], at_heads)
            scores[graph.head_writers(layer)] += (heads * weight).sum(dim=1)
    return scores


def stream_gradients(subject: Subject, slopes: ReaderGradients, rows: slice) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(layer, gradient at what its heads write, at what its MLP writes), [token, d_model], from the last layer to the first.

    Summed up from the gradients at the readers' inputs, from the output back. Layer -1 is what enters the first block.
    """
    assert slopes.final is not None
    graph, width = subject.graph, subject.graph.readers_per_layer
    stream = slopes.final[rows].clone()
    pulled = stream.new_empty(width, *stream.shape)
    for layer in reversed(range(graph.layers)):
        slopes.into(pulled, slice(layer * width, (layer + 1) * width), rows)
        if subject.final_norm.centred:
            pulled -= pulled.mean(dim=-1, keepdim=True)
        yield layer, stream + pulled[-1] if graph.mlps and not graph.parallel else stream, stream
        stream = stream + pulled.sum(dim=0)
    yield -1, stream, stream
