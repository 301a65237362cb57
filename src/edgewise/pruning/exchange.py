"""Exchange: edges of the circuit for others, as long as that is measured to help.

Training ends in one of many circuits of nearly equal loss, and in which one depends on the draws of its gates. From there an
oscillating search goes on: take in the edge that promises most, then drop the one that is needed least; if the circuit is no
better for it, take in two, one after the other, and drop two. What promises most is judged by the gradient of the loss in the
mask, of an edge outside d loss / d mask, of an edge inside minus that; the first few by this judgement are run, and the best
of them is taken. The new circuit stays if its loss is lower.

Somol, Pudil 2000, "Oscillating search algorithms for feature selection".
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.graph import Graph
from edgewise.pruning.fit import Fitted

# How many of the most promising changes are run.
TRIED = 4
# So many changes one after the other before a swing turns.
DEEPEST = 2
# A change is of one edge in so many, of one alone in small circuits.
PART = 100
# The least gain, as a share of the loss, that counts.
GAIN = 1e-3


def exchanges(fitted: Fitted, graph: Graph, mask: Tensor, swings: int) -> Iterator[Tensor]:
    """The best circuit so far, bool [writer, reader], after each of at most `swings` swings that begin at `mask`.

    All have as many edges, of the layout's candidates, and a path from an input writer to logits.
    """
    lowest, depth = fitted.losses(mask[None])[0], 1
    for _ in range(swings):
        loss, other = _swing(fitted, graph, mask, depth)
        better = loss < lowest - GAIN * abs(lowest)
        if better:
            lowest, mask = loss, other
        depth = 1 if better else depth + 1
        yield mask
        if depth > DEEPEST:
            return


def _swing(fitted: Fitted, graph: Graph, mask: Tensor, depth: int) -> tuple[float, Tensor]:
    """The loss after `depth` changes that take edges in and the changes back to as many edges as before, and the circuit."""
    size, loss, here = max(1, int(mask.sum()) // PART), math.inf, mask
    for _ in range(depth):
        groups = _groups(fitted.slope(here), fitted.candidates & ~here, size)
        if not groups:
            break
        loss, here = _best(fitted, [_changed(here, group) for group in groups])
    while excess := int(here.sum()) - int(mask.sum()):
        groups = _groups(-fitted.slope(here, here), here, min(size, excess))
        whole = [one for one in (_changed(here, group) for group in groups) if Circuit(graph, one).has_path]
        if not whole:
            return math.inf, mask
        loss, here = _best(fitted, whole)
    return loss, here


def _groups(change: Tensor, among: Tensor, size: int) -> list[Tensor]:
    """Flat indices of the first edges `among`, bool [writer, reader], by the predicted change: TRIED groups of `size`."""
    order = change.masked_fill(~among, torch.inf).flatten().sort(stable=True).indices
    size = min(size, int(among.sum()))
    return [order[n * size : (n + 1) * size] for n in range(min(TRIED, int(among.sum()) // size))] if size else []


def _changed(mask: Tensor, group: Tensor) -> Tensor:
    """The mask with the edges of a group the other way."""
    flat = mask.flatten().clone()
    flat[group] = ~flat[group]
    return flat.view_as(mask)


def _best(fitted: Fitted, masks: list[Tensor]) -> tuple[float, Tensor]:
    """The lowest loss and its mask, the first of equal ones."""
    losses = fitted.losses(torch.stack(masks))
    return min(losses), masks[losses.index(min(losses))]
