"""Exact scores: each edge is replaced alone and the metric is measured.

One edge changes the input of one node; the rest of the run is native. So the changed node is computed again for many
writers at once, on the batch axis, and the model finishes each of these runs from that layer on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution.base import Request, ScoringMethod
from edgewise.attribution.patcher import Patchers
from edgewise.graph import Graph
from edgewise.models.hooks import steady
from edgewise.options import option
from edgewise.ranks import current
from edgewise.reachability import Path as PathOfEdges
from edgewise.reachability import path_of
from edgewise.store.checkpoint import Checkpoint, Like, Tensors, damaged

# What is patched in one go: single edges into one reader, by its index, or one path.
EdgeSet = int | PathOfEdges


@final
@dataclass(frozen=True)
class Exact(ScoringMethod):
    """Replace every edge alone and measure the drop of the metric: the oracle that other methods predict.

        score(w → r) = metric(clean) − metric(clean with that one edge replaced),   mean over examples

    The cost is about half a forward pass for each edge. With a checkpoint file, an interrupted run goes on where it
    stopped.

    Effects of single edges are measured in Conmy et al. 2023 (arXiv:2304.14997), among others.
    """

    checkpoint: str | None = option(None, "a file that keeps what is done; an interrupted run goes on from it")
    name: ClassVar[str] = "exact"
    summary: ClassVar[str] = "every edge replaced alone and measured, the oracle"
    cost: ClassVar[str] = "about half a forward for each edge"
    paper: ClassVar[str] = "https://arxiv.org/abs/2304.14997"

    def rehearsal(self, request: Request) -> Callable[[], object]:
        """One reader of each kind in two layers: each patches as many edges at once as any other."""
        graph = request.subject.graph
        layers = {graph.layers // 2, graph.layers - 1}
        kinds = [readers(layer) for layer in layers for readers in (graph.q_readers, graph.k_readers, graph.v_readers)]
        readers = [kind.start for kind in kinds] + [graph.mlp_reader(layer) for layer in layers if graph.mlps]

        @torch.no_grad()
        def work() -> None:
            patchers = Patchers(request)
            patchers.begin(request.pairs)
            with steady(request.subject.model):
                for reader in (*readers, len(graph.readers) - 1):
                    patchers.effects(reader)

        return work

    def scores(self, request: Request) -> Tensor:
        graph = request.subject.graph
        path = Path(self.checkpoint) if self.checkpoint else None
        checkpoint = Checkpoint(path, {**request.key, "batch_size": request.batch_size})
        units = -(-len(request.pairs) // request.batch_size) * len(graph.readers)
        sums, done = self._saved(checkpoint, graph, units) or (
            torch.zeros(graph.edge_mask.shape, dtype=torch.float64),
            0,
        )
        request.note_seconds_before(checkpoint.seconds_before)
        with checkpoint.kept_on_the_way_out(), torch.no_grad(), steady(request.subject.model):
            for unit, (reader, effects) in enumerate(
                request.track(self._units(request, done), units, f"patching {graph.n_edges:,} edges one by one")
            ):
                if effects is not None:
                    sums[: len(effects), reader] += effects
                    checkpoint.keep(partial(_state, sums.clone(), unit + 1))
        checkpoint.remove()
        return sums / len(request.pairs)

    def _saved(self, checkpoint: Checkpoint, graph: Graph, units: int) -> tuple[Tensor, int] | None:
        """The sums that an interrupted run left, and over how many of its `units`."""
        saved = checkpoint.read()
        if saved is None:
            return None
        wanted = {"sums": Like(torch.float64, tuple(graph.edge_mask.shape)), "done": Like(torch.long, ())}
        done = int(checkpoint.require(saved, wanted)["done"])
        if not 0 <= done <= units:
            raise damaged(checkpoint.path, f"it says that {done:,} of {units:,} parts are done")
        return saved["sums"], done

    def _units(self, request: Request, done: int) -> Iterator[tuple[int, Tensor | None]]:
        """(reader, effects of the writers it reads, summed over a batch), None for units that were done before.

        Each rank patches one reader while the others patch those next to it.
        """
        readers, batches = len(request.subject.graph.readers), Patchers(request)
        for number, pairs in enumerate(request.pairs.batches(request.batch_size)):
            if (number + 1) * readers <= done:
                yield from ((reader, None) for reader in range(readers))
                continue
            ranks = current()
            batches.begin(pairs)
            for first in range(0, readers, ranks.count):
                together = range(first, min(first + ranks.count, readers))
                if number * readers + together[-1] < done:
                    yield from ((reader, None) for reader in together)
                    continue
                mine = batches.effects(together[ranks.number]) if ranks.number < len(together) else None
                for reader, effects in zip(together, ranks.gather(mine), strict=False):
                    yield reader, None if number * readers + reader < done else effects


def effects_of(request: Request, edges: Sequence[str | Sequence[str]]) -> Tensor:
    """The exact effect of some edges, or paths, alone, float64 [edge], in the order given: what `exact` scores edges by."""
    graph, together = request.subject.graph, defaultdict[EdgeSet, list[int]](list)
    paths = [path_of(graph, edge) for edge in edges]
    for number, path in enumerate(paths):
        together[path[0][1] if len(path) == 1 else path].append(number)
    effects = torch.zeros(len(edges), dtype=torch.float64)
    mine, kinds = request, sorted(together, key=lambda kind: (isinstance(kind, tuple), kind))
    if len(request.pairs) < current().count:  # too few to share: the readers are
        kinds = kinds[current().share(len(kinds))]
    else:
        mine = request.share()
    patchers, label = Patchers(mine), f"patching {len(edges):,} {_kind_of(paths)} one by one"
    units = ((pairs, kind) for pairs in mine.pairs.batches(mine.batch_size) for kind in kinds)
    total = -(-len(mine.pairs) // mine.batch_size) * len(kinds)
    with request.subject.at_work(), torch.no_grad(), steady(request.subject.model):
        for pairs, kind in request.track(units, total, label):
            numbers = together[kind]
            patchers.begin(pairs)
            if isinstance(kind, tuple):
                effects[numbers] += patchers.effect_of_path(kind)
            else:
                effects[numbers] += patchers.effects(kind, [paths[number][0][0] for number in numbers])
    return current().sum(effects) / len(request.pairs)


def _kind_of(paths: Sequence[tuple[tuple[int, int], ...]]) -> str:
    return "paths" if any(len(path) > 1 for path in paths) else "edges"


def _state(sums: Tensor, done: int) -> Tensors:
    """Sums [writer, reader] over the `done` first units of work."""
    return {"sums": sums, "done": torch.tensor(done)}
