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
from typing import final

import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.graph import Graph
from edgewise.pruning.trained_gates import TrainedGates

# A loss and the circuit that has it.
Judged = tuple[float, Tensor]

# How many of the most promising changes are run.
TRIED = 4
# So many changes one after the other before a swing turns.
DEEPEST = 2
# A change is of one edge in so many, of one alone in small circuits.
PART = 100
# The least gain, as a share of the loss, that counts.
GAIN = 1e-3


def exchanges(fitted: TrainedGates, graph: Graph, mask: Tensor, swings: int) -> Iterator[Tensor]:
    """The best circuit so far, bool [writer, reader], after each of at most `swings` swings that begin at `mask`.

    All have as many edges, of the layout's candidates, and a path from an input writer to logits.
    """
    lowest, depth, search = fitted.losses(mask[None])[0], 1, OscillatingSearch(fitted, graph)
    for _ in range(swings):
        loss, other = search.swing(mask, depth)
        better = loss < lowest - GAIN * abs(lowest)
        if better:
            lowest, mask = loss, other
        depth = 1 if better else depth + 1
        yield mask
        if depth > DEEPEST:
            return


@final
class OscillatingSearch:
    """OscillatingSearch on a graph. A circuit changed once is not looked at again: `known` says what became of it."""

    def __init__(self, fitted: TrainedGates, graph: Graph) -> None:
        self.fitted, self.graph = fitted, graph
        self.known: dict[tuple[bytes, int], Judged] = {}

    def swing(self, mask: Tensor, depth: int) -> Judged:
        """The loss after `depth` changes that take edges in and the changes back to as many edges as before, and the circuit.

        An infinite loss and the circuit itself if there is no way back.
        """
        edges = int(mask.sum())
        size, loss, kept = max(1, edges // PART), math.inf, mask
        for _ in range(depth):
            loss, kept = self._changed(kept, size)
        while excess := int(kept.sum()) - edges:
            loss, smaller = self._changed(kept, -min(size, excess))
            if smaller is kept:
                return math.inf, mask
            kept = smaller
        return loss, kept

    def _changed(self, mask: Tensor, change: int) -> Judged:
        key = mask.numpy().tobytes(), change
        if key not in self.known:
            self.known[key] = self._wider(mask, change) if change > 0 else self._smaller(mask, -change)
        return self.known[key]

    def _wider(self, mask: Tensor, size: int) -> Judged:
        """With the best group of edges outside, the mask itself if there are none."""
        candidates = self.fitted.candidates
        return self._best(mask, _groups(mask, self.fitted.slope(mask, candidates), candidates & ~mask, size))

    def _smaller(self, mask: Tensor, size: int) -> Judged:
        """Without the group of edges that is missed least, the mask itself if each is needed for a path."""
        groups = _groups(mask, -self.fitted.slope(mask, mask), mask, size)
        return self._best(mask, [group for group in groups if Circuit(self.graph, group).has_path])

    def _best(self, mask: Tensor, others: list[Tensor]) -> Judged:
        """The lowest loss and its mask, the first of equal ones."""
        if not others:
            return math.inf, mask
        losses = self.fitted.losses(torch.stack(others))
        return min(losses), others[losses.index(min(losses))]


def _groups(mask: Tensor, change: Tensor, among: Tensor, size: int) -> list[Tensor]:
    """The mask with each of the first TRIED groups of `size` edges `among`, by the predicted change, the other way."""
    order = change.masked_fill(~among, torch.inf).flatten().sort(stable=True).indices
    size = min(size, int(among.sum()))
    groups = [order[n * size : (n + 1) * size] for n in range(min(TRIED, int(among.sum()) // size))] if size else []
    return [_changed(mask, group) for group in groups]


def _changed(mask: Tensor, group: Tensor) -> Tensor:
    """The mask with the edges of a group the other way."""
    flat = mask.flatten().clone()
    flat[group] = ~flat[group]
    return flat.view_as(mask)
