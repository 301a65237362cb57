"""Which nodes kept edges lead to from an input writer, and from which they lead to `logits`."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.graph import Graph


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
