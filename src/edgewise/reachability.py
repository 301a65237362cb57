"""Where kept edges lead: from an input writer, to `logits`, and over which paths from one node to another.

A path is written as it goes, `input->a3.h1<v>->m5->logits`: each part between arrows is the reader of a node. Where heads
share a key or value, the head it goes on from stands behind it: `input->a3.kv0<v>:a3.h1->logits`. A path of one edge is the
edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from edgewise.errors import InvalidValue, UnknownName
from edgewise.graph import Graph

# The (writer index, reader index) of each edge of a path.
Path = tuple[tuple[int, int], ...]


def live_writers(graph: Graph, mask: Tensor) -> Tensor:
    """bool [writer]: those that an input writer reaches over edges of `mask` [writer, reader] that are not zero."""
    kept, live = mask != 0, torch.zeros(len(graph.writers), dtype=torch.bool)
    live[: len(graph.inputs)] = True
    serves = graph.serves
    for layer in range(graph.layers):
        attention, heads = graph.attention_readers(layer), graph.head_writers(layer)
        fed = (kept[:, attention] & live[:, None]).any(dim=0)
        live[heads] = (serves[attention, heads] & fed[:, None]).any(dim=0)
        if graph.mlps:
            live[graph.mlp_writer(layer)] = bool((kept[:, graph.mlp_reader(layer)] & live).any())
    return live


def useful_readers(graph: Graph, mask: Tensor) -> Tensor:
    """bool [reader]: those whose node reaches `logits` over edges of `mask` [writer, reader] that are not zero."""
    kept, useful = mask != 0, torch.zeros(len(graph.readers), dtype=torch.bool)
    useful[-1] = True
    for layer in reversed(range(graph.layers)):
        if graph.mlps:
            useful[graph.mlp_reader(layer)] = bool((kept[graph.mlp_writer(layer)] & useful).any())
        attention, heads = graph.attention_readers(layer), graph.head_writers(layer)
        read = (kept[heads] & useful).any(dim=1)
        useful[attention] = (graph.serves[attention, heads] & read).any(dim=1)
    return useful


def writers_on_path(graph: Graph, mask: Tensor) -> Tensor:
    """bool [writer]: those on a path from an input writer to `logits` over edges that are not zero, and all input writers."""
    live = live_writers(graph, mask)
    on_path = live & ((mask != 0) & useful_readers(graph, mask)).any(dim=1)
    on_path[: len(graph.inputs)] = True
    return on_path


# -- paths between two nodes ------------------------------------------------------------------------------------------


def each_path(graph: Graph, mask: Tensor, start: str, end: str) -> Iterator[Path]:
    """The paths over kept edges from the node `start` to the node or reader `end`: shortest first, then in graph order."""
    if start not in graph.writer_index:
        raise UnknownName.of("node to start from", start, graph.writers)
    last = _readers_of(graph, end)
    # leads[k]: from which writers exactly k + 1 kept edges lead to the end.
    leads = [(mask & last).any(dim=1)]
    while bool(leads[-1].any()):
        leads.append((mask & (graph.serves & leads[-1]).any(dim=1)).any(dim=1))
    first = graph.writer_index[start]
    for length, starts in enumerate(leads):
        if bool(starts[first]):
            yield from _paths_of(graph, mask, leads[:length], last, first)


def _paths_of(graph: Graph, mask: Tensor, leads: Sequence[Tensor], last: Tensor, writer: int) -> Iterator[Path]:
    """Those of one edge more than `leads` has, from one writer."""
    if not leads:
        yield from (((writer, reader),) for reader in (mask[writer] & last).nonzero().flatten().tolist())
        return
    for reader in mask[writer].nonzero().flatten().tolist():
        for node in (graph.serves[reader] & leads[-1]).nonzero().flatten().tolist():
            for rest in _paths_of(graph, mask, leads[:-1], last, node):
                yield ((writer, reader), *rest)


def _readers_of(graph: Graph, end: str) -> Tensor:
    """bool [reader]: those of a node, or the one of that name."""
    readers, end = torch.zeros(len(graph.readers), dtype=torch.bool), graph.current_name(end)
    if end in graph.reader_index:
        readers[graph.reader_index[end]] = True
    elif end in graph.writer_index:
        readers |= graph.serves[:, graph.writer_index[end]]
    else:
        raise UnknownName.of("node to end at", end, [*graph.writers, "logits"])
    return readers


def path_name(graph: Graph, path: Path) -> str:
    """The path as it is written."""
    parts = [graph.writers[path[0][0]]]
    for (_, reader), (writer, _) in pairwise(path):
        shared = int(graph.serves[reader].sum()) > 1
        parts.append(graph.readers[reader] + (f":{graph.writers[writer]}" if shared else ""))
    return "->".join([*parts, graph.readers[path[-1][1]]])


def path_of(graph: Graph, path: str | Sequence[str]) -> Path:
    """The edges of a path that is written out, or given as the names of its edges.

    UnknownName for an edge that the graph does not have, InvalidValue for edges that do not follow one another.
    """
    edges = _edges_of_text(graph, path) if isinstance(path, str) else [*path]
    if not edges:
        raise InvalidValue("a path needs at least one edge, such as 'a0.h1->m2'")
    places = tuple(graph.edge_index(edge) for edge in edges)
    for (before, after), ((_, reader), (writer, _)) in zip(pairwise(edges), pairwise(places), strict=True):
        if not graph.serves[reader, writer]:
            raise InvalidValue(f"{before!r} and {after!r} are no path: the second does not begin where the first ends")
    return places


def _edges_of_text(graph: Graph, text: str) -> list[str]:
    writer, *readers = text.split("->")
    if len(readers) < 2:
        return [text]
    edges = list[str]()
    for part in readers[:-1]:
        reader, colon, head = part.partition(":")
        edges.append(f"{writer}->{reader}")
        _, number = graph.edge_index(edges[-1])
        served = [graph.writers[node] for node in graph.serves[number].nonzero().flatten().tolist()]
        if not colon and len(served) > 1:
            reader = graph.readers[number]
            raise InvalidValue(
                f"{reader} is shared by {', '.join(served)}; say which of them the path goes on from: {reader}:{served[0]}"
            )
        writer = head if colon else served[0] if served else reader
    return [*edges, f"{writer}->{readers[-1]}"]


# -- nodes out of a circuit, and into one --------------------------------------------------------------------------------


def writers_named(graph: Graph, nodes: Sequence[str], always: Sequence[str] = ()) -> Tensor:
    """bool [writer]: these nodes, and what is `always` there; UnknownName for a node that the graph does not have."""
    named = torch.zeros(len(graph.writers), dtype=torch.bool)
    for node in (*always, *nodes):
        if node != "logits" and node not in graph.writer_index:
            raise UnknownName.of("node", node, [*graph.writers, "logits"])
        if node != "logits":
            named[graph.writer_index[node]] = True
    return named


def mask_without(graph: Graph, mask: Tensor, removed: Sequence[str]) -> Tensor:
    """The mask without these edges, and without the edges out of and into these nodes.

    A key or value that heads share keeps its edges as long as one of these heads stays and writes to something.
    """
    left, gone = mask.clone(), torch.zeros(len(graph.writers), dtype=torch.bool)
    for name in removed:
        if "->" in name:
            left[graph.edge_index(name)] = False
        elif name == "logits":
            left[:, -1] = False
        elif name in graph.writer_index:
            gone[graph.writer_index[name]] = True
        else:
            raise UnknownName.of("node or edge", name, [*graph.writers, "logits"])
    left[gone] = False
    stays = ~gone & left.any(dim=1)
    left[:, (graph.serves & gone).any(dim=1) & ~(graph.serves & stays).any(dim=1)] = False
    return left
