"""The order in which ACDC asks: from the output back, and which readers fall away untested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from typing import final

from torch import Tensor

from edgewise.engine.frontier import Removal
from edgewise.graph import Graph


@final
@dataclass(frozen=True)
class Stage:
    """Removals to test one after the other, all at one node or at the attention of one layer.

    `drop`: readers that fall away before, because nobody reads their node any more. `forced`: those of the removals that
    are made whatever the metric says.
    """

    drop: tuple[int, ...]
    removals: tuple[Removal, ...]
    forced: frozenset[Removal] = frozenset()


def stages(graph: Graph, mask: Tensor, candidates: Tensor, *, whole_readers: bool) -> Iterator[Stage]:
    """All stages of a search, given what is kept so far: `mask` bool [writer, reader] is read again before each stage.

    Edges into `logits`; then for each layer from the last to the first the edges into its MLP, whole v, then k, then q
    readers of its live heads, and the edges into those that are left; heads and writers in descending order. Only
    `candidates`, bool [writer, reader], are tested: when the turn comes to a reader, its other edges go at once.
    """
    yield _edges(graph, candidates, [len(graph.readers) - 1])
    for layer in reversed(range(graph.layers)):
        if graph.mlps:
            reader = graph.mlp_reader(layer)
            read = bool(mask[graph.mlp_writer(layer)].any())
            yield _edges(graph, candidates, [reader]) if read else Stage((reader,), ())
        readers = _attention_readers(graph, layer)
        read_heads = mask[graph.head_writers(layer)].any(dim=1)
        served = (graph.serves[readers, graph.head_writers(layer)] & read_heads).any(dim=1).tolist()
        live = list(compress(readers, served))
        yield Stage(tuple(reader for reader in readers if reader not in live), ())
        if whole_readers:
            yield Stage((), tuple(Removal(reader, None) for reader in live if bool(candidates[:, reader].any())))
        yield _edges(graph, candidates, [reader for reader in live if bool(mask[:, reader].any())])


def _edges(graph: Graph, candidates: Tensor, readers: list[int]) -> Stage:
    """All edges into some readers: from the last layer down, the MLP before the heads, heads descending, `input` last."""
    removals, forced = [], []
    for reader in readers:
        writers = list(reversed(range(graph.reach(reader))))
        others = tuple(writer for writer in writers if not candidates[writer, reader])
        forced += [Removal(reader, others)] if others else []
        removals += forced[-1:] if others else []
        removals += [Removal(reader, (writer,)) for writer in writers if writer not in others]
    return Stage((), tuple(removals), frozenset(forced))


def _attention_readers(graph: Graph, layer: int) -> list[int]:
    """The readers of a layer's attention: v, then k, then q, each from the last head down."""
    kinds = (graph.v_readers(layer), graph.k_readers(layer), graph.q_readers(layer))
    return [reader for kind in kinds for reader in reversed(range(kind.start, kind.stop))]
