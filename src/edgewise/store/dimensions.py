"""What a graph is made of, from its numbers alone: held against the content of a file before anything is allocated."""

from __future__ import annotations

from edgewise.errors import InvalidValue
from edgewise.graph import Graph

# So many cells of a table may be claimed by a file that lists nothing, and so many more for each entry that it lists.
# An 8-billion-weight model has a table of 2 million pairs, one of 70 billion 34 million.
FREE_CELLS, CELLS_OF_AN_ENTRY = 1 << 24, 1 << 13


def table_shape(graph: Graph) -> tuple[int, int]:
    """How many writers and readers there are."""
    return len(graph.inputs) + graph.layers * graph.writers_per_layer, graph.layers * graph.readers_per_layer + 1


def check_claim(graph: Graph, entries: int, width: int | None = None) -> Graph:
    """The graph; InvalidValue if it, or its neurons [writer, `width`], is far larger than so many entries in a file tell."""
    writers, readers = table_shape(graph)
    cells = writers * (readers if width is None else max(readers, width))
    if cells > FREE_CELLS + CELLS_OF_AN_ENTRY * entries:
        raise InvalidValue(
            f"it claims {writers:,} writers and {readers:,} readers{'' if width is None else f' of width {width:,}'}, "
            f"and lists {entries:,} entries: that fits no model"
        )
    return graph
