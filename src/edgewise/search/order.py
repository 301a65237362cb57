"""The order in which ACDC asks: from the output back, and which readers fall away untested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from edgewise.engine.frontier import Removal
from edgewise.graph import Graph


@dataclass(frozen=True)
class Stage:
    """Removals to test one after the other, all at one node or at the attention of one layer.

    `drop`: readers that fall away before, because nobody reads their node any more.
    """

    drop: tuple[int, ...]
    removals: tuple[Removal, ...]


def stages(graph: Graph, mask: Tensor, *, whole_readers: bool) -> Iterator[Stage]:
    """All stages of a search, given what is kept so far: `mask` bool [writer, reader] is read again before each stage.

    Edges into `logits`; then for each layer from the last to the first the edges into its MLP, whole v, then k, then q
    readers of its live heads, and the edges into those that are left; heads and writers in descending order.
    """
    yield Stage((), _edges(graph, len(graph.readers) - 1))
    for layer in reversed(range(graph.layers)):
        if graph.mlps:
            reader = graph.mlp_reader(layer)
            read = bool(mask[graph.mlp_writer(layer)].any())
            yield Stage((), _edges(graph, reader)) if read else Stage((reader,), ())
        readers = _attention_readers(graph, layer)
        live = [reader for reader in readers if _is_read(graph, mask, layer, reader)]
        yield Stage(tuple(reader for reader in readers if reader not in live), ())
        if whole_readers and live:
            yield Stage((), tuple(Removal(reader, None) for reader in live))
        for reader in live:
            if bool(mask[:, reader].any()):
                yield Stage((), _edges(graph, reader))


def _edges(graph: Graph, reader: int) -> tuple[Removal, ...]:
    """All edges into a reader: from the last layer down, the MLP before the heads, heads descending, `input` last."""
    return tuple(Removal(reader, writer) for writer in reversed(range(graph.reach(reader))))


def _attention_readers(graph: Graph, layer: int) -> list[int]:
    """The readers of a layer's attention: v, then k, then q, each from the last head down."""
    kinds = (graph.v_readers(layer), graph.k_readers(layer), graph.q_readers(layer))
    return [reader for kind in kinds for reader in reversed(range(kind.start, kind.stop))]


def _is_read(graph: Graph, mask: Tensor, layer: int, reader: int) -> bool:
    """Whether a head that the reader serves has a kept edge out of it."""
    return bool(mask[graph.serves[reader]].any())
