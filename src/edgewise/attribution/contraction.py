"""The shared contraction: score[w, r] = Σ over tokens and d_model of delta_w · gradient at reader r's own input.

The gradient at a head's own residual input is J_normᵀ W_rᵀ G_r with G_r the gradient at the projection's output, so all
readers of a layer come from one batched product, and all their scores from one more.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from edgewise.attribution.reader_gradients import ReaderGradients
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writer_buffer import Workspace
from edgewise.engine.writes import Writes, expand
from edgewise.graph import Graph
from edgewise.models.subject import Subject


def contract(subject: Subject, deltas: Writes, slopes: ReaderGradients) -> Tensor:
    """Scores [writer, reader], summed over the examples of the batch, in the subject's work dtype.

    `deltas`: clean minus replacement, [example, position, ..]; `slopes`: the gradients of the runs at whose points they
    were taken. Entries that are no edges are meaningless.
    """
    flat = deltas.flat()
    return _contract_rows(subject, flat, slopes, slice(0, len(flat.inputs)))


def contract_each(subject: Subject, deltas: Writes, slopes: ReaderGradients, examples: int) -> Iterator[Tensor]:
    """The same for one example after the other."""
    flat = deltas.flat()
    tokens = len(flat.inputs) // examples
    for first in range(0, examples * tokens, tokens):
        yield _contract_rows(subject, flat, slopes, slice(first, first + tokens))


def _contract_rows(subject: Subject, flat: Writes, slopes: ReaderGradients, tokens: slice) -> Tensor:
    """Scores [writer, reader] of some consecutive tokens of flat writes."""
    assert slopes.final is not None
    graph, d, tiling = subject.graph, subject.d_model, tiling_for(subject.device)
    scores = flat.inputs.new_zeros(len(graph.writers), len(graph.readers))
    groups = list(_groups(graph, tiling.layers))
    widest = max(group.stop - group.start for group, _ in groups)
    space = Workspace()
    for chunk in tiling.chunks(tokens.stop - tokens.start, (len(graph.writers) + widest) * d * scores.itemsize):
        rows, size = slice(tokens.start + chunk.start, tokens.start + chunk.stop), chunk.stop - chunk.start
        writers = expand(subject, flat, rows, space.take("writers", (len(graph.writers), size, d), scores))
        if subject.final_norm.centred:
            # Centring, the last step of every norm's transposed Jacobian, may as well be done to the writers.
            writers -= writers.mean(dim=-1, keepdim=True)
        writers, pulled = writers.flatten(1), space.take("readers", (widest, size, d), scores)
        for readers, reach in groups:
            with tiling.rounding(subject.device):
                slopes.into(pulled, readers, rows)
                read = pulled[: readers.stop - readers.start].flatten(1)
                scores[:reach, readers].addmm_(writers[:reach], read.T)
        scores[:, -1].addmv_(writers, slopes.final[rows].flatten())
    return scores


def _groups(graph: Graph, at_once: int) -> Iterator[tuple[slice, int]]:
    """Readers of consecutive layers, and how many writers the last of them reads."""
    for first in range(0, graph.layers, at_once):
        stop = min(graph.layers, first + at_once)
        last = graph.mlp_reader(stop - 1) if graph.mlps else graph.q_readers(stop - 1).start
        yield slice(first * graph.readers_per_layer, stop * graph.readers_per_layer), graph.reach(last)
