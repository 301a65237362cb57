"""From degrees to a circuit: exactly as many edges as asked for, none of them dangling if that can be."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.circuit import Circuit, live_writers, useful_readers
from edgewise.errors import InvalidValue
from edgewise.graph import Graph


def best_edges(graph: Graph, ranking: Tensor, n: int) -> Tensor:
    """bool [writer, reader] with exactly `n` edges, the best by `ranking` [writer, reader] that hang together.

    The longest list of best edges that, without dangling ones, has at most n; filled up with the best of those that join
    its nodes. If that list connects nothing, it begins with the widest path: the one whose worst edge is best. Edges
    ranked −inf are never taken; ties go to the lower index. InvalidValue if no path of so few edges is left, or not so many
    edges.
    """
    allowed = graph.edge_mask & (ranking > -torch.inf)
    if int(allowed.sum()) < n:
        raise InvalidValue(f"asked for {n:,} edges where only {int(allowed.sum()):,} may be kept")
    order = ranking.masked_fill(~allowed, -torch.inf).flatten().sort(descending=True, stable=True).indices
    order = order[: int(allowed.sum())]
    mask = _connected_prefix(graph, order, n)
    if not bool(mask.any()):
        mask = widest_path(graph, ranking, n)
    while int(mask.sum()) < n:
        mask = _filled(graph, mask, order, n)
    return mask


def widest_path(graph: Graph, ranking: Tensor, n: int) -> Tensor:
    """bool [writer, reader]: the path from an input writer to logits of at most `n` edges whose worst edge ranks best.

    Edges ranked −inf are no part of a path; InvalidValue if none is left.
    """
    ranking = ranking.masked_fill(~graph.edge_mask, -torch.inf)
    widths = torch.full((len(graph.writers),), -torch.inf, dtype=ranking.dtype)
    widths[: len(graph.inputs)] = torch.inf
    steps, ends = list[tuple[Tensor, Tensor]](), list[float]()
    for _ in range(min(n, 2 * graph.layers + 1)):
        # The best path of so many edges into each reader, and from there to the writers it serves.
        reached, writers = torch.minimum(widths[:, None], ranking).max(dim=0)
        widths, readers = reached[:, None].masked_fill(~graph.serves, -torch.inf).max(dim=0)
        steps.append((writers, readers))
        ends.append(float(reached[-1]))
    if not ends or max(ends) == -torch.inf:
        raise InvalidValue(f"{n:,} edges are too few for a path from input to logits; ask for more")
    mask, reader = torch.zeros_like(graph.edge_mask), len(graph.readers) - 1
    for number in reversed(range(ends.index(max(ends)) + 1)):
        writer = int(steps[number][0][reader])
        mask[writer, reader] = True
        reader = int(steps[number - 1][1][writer])
    return mask


def _connected_prefix(graph: Graph, order: Tensor, n: int) -> Tensor:
    """The largest set of at most n edges that best edges, cut off somewhere, leave when dangling ones are dropped."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        fits = int(_connected(graph, order[:middle]).sum()) <= n
        low, high = (middle, high) if fits else (low, middle - 1)
    return _connected(graph, order[:low])


def _connected(graph: Graph, edges: Tensor) -> Tensor:
    mask = torch.zeros(graph.edge_mask.numel(), dtype=torch.bool)
    mask[edges] = True
    return Circuit(graph, mask.view_as(graph.edge_mask)).without_dangling().mask


def _filled(graph: Graph, mask: Tensor, order: Tensor, n: int) -> Tensor:
    """With the best edges that join nodes of the circuit, up to n; with the best of all if there are none."""
    joining = live_writers(graph, mask)[:, None] & useful_readers(graph, mask)[None, :] & ~mask
    new = order[(joining if bool(joining.flatten()[order].any()) else ~mask).flatten()[order]]
    count = n - int(mask.sum()) if bool(joining.flatten()[order].any()) else 1
    filled = mask.flatten().clone()
    filled[new[:count]] = True
    return filled.view_as(mask)
