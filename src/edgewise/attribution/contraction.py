"""The shared contraction: score[w, r] = Σ over tokens and d_model of delta_w · gradient at reader r's own input.

The gradient at a head's own residual input is J_normᵀ W_rᵀ G_r with G_r the gradient at the projection's output, so all
readers of a layer come from one batched product, and all their scores from one more.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from edgewise.attribution.reader_gradients import ReaderGradients
from edgewise.engine.tiling import Tiling, tiling_for
from edgewise.engine.writer_buffer import Workspace
from edgewise.engine.writes import WriteChange, expand
from edgewise.graph import Graph
from edgewise.models.subject import Subject


def contract(subject: Subject, change: WriteChange, slopes: ReaderGradients) -> Tensor:
    """Scores [writer, reader], summed over the examples of the batch, in the subject's work dtype.

    `slopes`: the gradients of the runs at whose points they were taken. Entries that are no edges are meaningless.
    """
    return contract_each(subject, change, slopes, 1)[0]


def contract_each(subject: Subject, change: WriteChange, slopes: ReaderGradients, examples: int) -> Tensor:
    """The same for each of the examples, which are of equal length: [example, writer, reader]."""
    assert slopes.final is not None
    graph, d, tiling = subject.graph, subject.d_model, tiling_for(subject.device)
    scores = slopes.final.new_zeros(examples, len(graph.writers), len(graph.readers))
    groups = list(_groups(graph, tiling.layers))
    widest = max(group.stop - group.start for group, _ in groups)
    per_token, space = (len(graph.writers) + widest) * d * scores.itemsize, Workspace()
    for some, rows in _pieces(tiling, examples, change.tokens, per_token):
        size = rows.stop - rows.start
        out = space.take("writers", (len(graph.writers), size, d), scores)
        writers = expand(subject, change.at(rows), slice(size), out)
        if subject.final_norm.centred:
            # Centring, the last step of every norm's transposed Jacobian, may as well be done to the writers.
            writers -= writers.mean(dim=-1, keepdim=True)
        each, at = (some.stop - some.start, -1), scores[some]
        pulled = space.take("readers", (widest, size, d), scores)
        by_example = writers.flatten(1).unflatten(1, each).transpose(0, 1)
        for readers, reach in groups:
            with tiling.rounding(subject.device):
                slopes.into(pulled, readers, rows)
                read = pulled[: readers.stop - readers.start].flatten(1).unflatten(1, each)
                at[:, :reach, readers].baddbmm_(by_example[:, :reach], read.permute(1, 2, 0))
        at[:, :, -1:].baddbmm_(by_example, slopes.final[rows].flatten().view(*each, 1))
    return scores


def _pieces(tiling: Tiling, examples: int, tokens: int, per_token: int) -> Iterator[tuple[slice, slice]]:
    """The work in chunks: which examples, and which tokens of all, several whole examples or some tokens of one."""
    of_each = tokens // examples
    for some in tiling.chunks(examples, per_token * of_each):
        if some.stop - some.start > 1:
            yield some, slice(some.start * of_each, some.stop * of_each)
            continue
        first = some.start * of_each
        for part in tiling.chunks(of_each, per_token):
            yield some, slice(first + part.start, first + part.stop)


def _groups(graph: Graph, at_once: int) -> Iterator[tuple[slice, int]]:
    """Readers of consecutive layers, and how many writers the last of them reads."""
    for first in range(0, graph.layers, at_once):
        stop = min(graph.layers, first + at_once)
        last = graph.mlp_reader(stop - 1) if graph.mlps else graph.q_readers(stop - 1).start
        yield slice(first * graph.readers_per_layer, stop * graph.readers_per_layer), graph.reach(last)
