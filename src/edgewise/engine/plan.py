"""Plan: which nodes a masked run has to compute, and at which tokens.

A node on no path from an input writer to `logits` over candidate edges is *dead*: it outputs its replacement and is
skipped. A node that is *late*, all of whose candidate edges lead to `logits`, late MLPs or the queries of late heads, is
needed at the answer tokens alone: no other token of it ever gets to the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from edgewise.graph import Graph
from edgewise.reachability import writers_on_path


@final
@dataclass(frozen=True)
class LayerPlan:
    """What to compute in one layer.

    `groups`: kv-heads with a live head; `heads`: their query heads, all of which run. `everywhere`, `late_queries`,
    `unfed`: slots (reader index within the layer) of the attention readers that are needed at all tokens, at the answer
    tokens only, and that have no candidate edge and so read the replaced stream. `mlp`: whether it runs; `mlp_late`.
    """

    groups: list[int]
    heads: list[int]
    everywhere: list[int]
    late_queries: list[int]
    unfed: list[int]
    mlp: bool
    mlp_late: bool

    @property
    def slots(self) -> list[int]:
        """All attention slots that run, in reader order."""
        return sorted([*self.everywhere, *self.late_queries, *self.unfed])


@final
@dataclass(frozen=True)
class Plan:
    """What to compute in a masked run. `rows` [writer]: the row of a computed writer in the buffer, -1 for the others."""

    layers: list[LayerPlan]
    rows: Tensor

    @property
    def computed(self) -> Tensor:
        """Indices of the writers that are computed, in order."""
        return (self.rows >= 0).nonzero().flatten()

    def rows_before(self, writer: int) -> int:
        """How many buffer rows belong to writers before this one."""
        return int((self.rows[:writer] >= 0).sum())


def make_plan(graph: Graph, candidates: Tensor, *, heads_share_norm: bool = False, together: int = 1) -> Plan:
    """The plan for a run whose mask may be non-zero only on `candidates`, bool [writer, reader].

    `heads_share_norm`: what a head writes depends on its whole layer, so heads are late together. `together`: how many
    kv-heads can run only at once.
    """
    live = writers_on_path(graph, candidates)
    # Heads run by kv group: a group shares its keys and values, so its other heads come almost for free.
    grouped = live.clone()
    per_group = graph.heads // graph.kv_heads * together
    for layer in range(graph.layers):
        heads = graph.head_writers(layer)
        grouped[heads] = live[heads].view(-1, per_group).any(dim=1).repeat_interleave(per_group)
    late = late_writers(graph, candidates & grouped[:, None], heads_share_norm)
    fed = (candidates & live[:, None]).any(dim=0)
    layers = [_layer_plan(graph, layer, grouped, late, fed) for layer in range(graph.layers)]
    rows = torch.where(grouped, grouped.cumsum(0) - 1, -1)
    return Plan(layers, rows)


def _layer_plan(graph: Graph, layer: int, live: Tensor, late: Tensor, fed: Tensor) -> LayerPlan:
    per_group, first = graph.heads // graph.kv_heads, graph.q_readers(layer).start
    heads = [h for h in range(graph.heads) if live[graph.head_writers(layer).start + h]]
    groups = sorted({h // per_group for h in heads})
    is_late = {h: bool(late[graph.head_writers(layer).start + h]) for h in heads}
    queries = [h for h in heads if fed[first + h]]
    shared = [graph.heads + side * graph.kv_heads + g for side in (0, 1) for g in groups]
    slots = [*heads, *shared]
    return LayerPlan(
        groups=groups,
        heads=heads,
        everywhere=[s for s in queries if not is_late[s]] + [s for s in shared if fed[first + s]],
        late_queries=[s for s in queries if is_late[s]],
        unfed=[s for s in slots if not fed[first + s]],
        mlp=graph.mlps and bool(live[graph.mlp_writer(layer)]),
        mlp_late=graph.mlps and bool(late[graph.mlp_writer(layer)]),
    )


def late_writers(graph: Graph, candidates: Tensor, heads_share_norm: bool = False) -> Tensor:
    """bool [writer]: those needed at the answer tokens alone."""
    result = torch.zeros(len(graph.writers), dtype=torch.bool)
    # As arrays: it is asked for at every place of a search, and these are the smallest of operations.
    read, late = candidates.numpy(), result.numpy()
    everywhere = np.ones(len(graph.readers), dtype=bool)
    everywhere[-1] = False
    for layer in reversed(range(graph.layers)):
        if graph.mlps:
            mlp = graph.mlp_writer(layer)
            late[mlp] = not (read[mlp] & everywhere).any()
            everywhere[graph.mlp_reader(layer)] = not late[mlp]
        heads = graph.head_writers(layer)
        early = (read[heads] & everywhere).any(axis=1)
        late[heads] = not early.any() if heads_share_norm else ~early
        everywhere[graph.q_readers(layer)] = ~late[heads]
    return result
