"""Coarse gates close first: of blocks, then of nodes. Only edges between what is left open get gates of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from edgewise.graph import Graph
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.fit import Files, fit
from edgewise.pruning.objective import FallingCount
from edgewise.pruning.optimization import Problem
from edgewise.pruning.trained_gates import TrainedGates
from edgewise.pruning.training import Training
from edgewise.pruning.writer_gates import WriterGates

# The share of the edges' steps that gates of blocks and nodes take together.
SHARE_OF_STEPS = 1 / 3
# The share of the candidates that may lie between nodes that stay open.
ROOM = 0.3
GATES_OF = {"blocks": WriterGates.of_blocks, "nodes": WriterGates.of_nodes}


@final
@dataclass(frozen=True)
class Coarse:
    """Which gates come before those of edges, of `GATES_OF`, in their order, and how they are trained.

    `training` is that of the edges.
    """

    levels: Sequence[str]
    training: Training
    seed: int
    files: Files

    def close(
        self, graph: Graph, candidates: Tensor, fewest: int, feed: BatchCache
    ) -> tuple[Tensor, list[TrainedGates]]:
        """The `candidates`, bool [writer, reader], between nodes that stay open, at least `fewest`; and what was trained.

        Each level closes by the same factor.
        """
        allowed, done = candidates, list[TrainedGates]()
        open_ = torch.ones(len(graph.writers), dtype=torch.bool)
        first = int(candidates.sum())
        last, before = max(fewest, round(ROOM * first)), first
        for number, level in enumerate(self.levels, start=1):
            room = round(first * (last / first) ** (number / len(self.levels)))
            layout, training = GATES_OF[level](graph, allowed, open_), self._training
            penalty = FallingCount.between(graph.n_edges, before, room, training.approaching)
            done.append(fit(Problem(layout, penalty, training, self.seed), feed, self._files(level)))
            open_ = layout.best(layout.degrees(done[-1].logits), room)
            allowed = layout.edges_between(open_)
            before = int(allowed.sum())
        return allowed, done

    @property
    def _training(self) -> Training:
        steps = max(1, round(SHARE_OF_STEPS * self.training.steps / len(self.levels)))
        return replace(self.training, steps=steps, compared=0)

    def _files(self, level: str) -> Files:
        """The state alone is kept, beside that of the edges' gates: history and curves are of these."""
        checkpoint = None if self.files.checkpoint is None else f"{self.files.checkpoint}.{level}"
        return Files({**self.files.key, "gates": level}, checkpoint)
