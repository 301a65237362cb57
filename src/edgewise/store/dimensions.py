"""What a graph is made of, from its numbers alone: held against the content of a file before anything is allocated."""

from __future__ import annotations

from edgewise.errors import InvalidValue
from edgewise.graph import Graph

# So many cells of a table may be claimed by a file that lists nothing, and so many more for each entry that it lists.
# Llama of 8 billion weights has a table of 2 million pairs, of 70 billion 34 million (80 million with a key for each head),
# of 405 billion 300 million.
FREE_CELLS, CELLS_OF_AN_ENTRY = 1 << 27, 1 << 16
# No stream is wider: that of Llama of 405 billion weights has 16,384 coordinates.
MOST_WIDTH = 1 << 17


def table_shape(graph: Graph) -> tuple[int, int]:
    """How many writers and readers there are."""
    return len(graph.inputs) + graph.layers * graph.writers_per_layer, graph.layers * graph.readers_per_layer + 1


def check_claim(graph: Graph, entries: int, width: int | None = None) -> Graph:
    """The graph; InvalidValue if it, or its neurons [writer, `width`], is far larger than so many entries in a file tell."""
    writers, readers = table_shape(graph)
    cells = writers * (readers if width is None else max(readers, width))
    if cells > FREE_CELLS + CELLS_OF_AN_ENTRY * entries or (width or 0) > MOST_WIDTH:
        raise InvalidValue(
            f"it claims {writers:,} writers and {readers:,} readers{'' if width is None else f' of width {width:,}'}, "
            f"and lists {entries:,} entries: far too few for so large a model"
        )
    return graph
