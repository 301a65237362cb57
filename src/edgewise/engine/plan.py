"""Plan: which nodes a masked run has to compute, and at which tokens.

A node on no path from an input writer to `logits` over candidate edges is *dead*: it outputs its replacement and is
skipped. A node that is *late*, all of whose candidate edges lead to `logits`, late MLPs or the queries of late heads, is
needed at the answer tokens alone: no other token of it ever gets to the answer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
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


# Places along an axis of a tensor: consecutive ones as a slice, which is a view.
Picks = slice | Tensor


@final
@dataclass(frozen=True)
class Plan:
    """What to compute in a masked run: in each layer, and the `computed` writers, one row of the buffer each, in order."""

    graph: Graph
    layers: list[LayerPlan]
    computed: list[int]
    _picks: dict[tuple[object, ...], Picks] = field(default_factory=dict, compare=False)

    def rows_before(self, writer: int) -> int:
        """How many buffer rows belong to writers before this one."""
        return bisect_left(self.computed, writer)

    @cached_property
    def readers(self) -> list[int]:
        """The readers that are read, those that are read together beside one another."""
        order: list[int] = []
        for number, layer in enumerate(self.layers):
            first = self.graph.q_readers(number).start
            order += [first + slot for slot in layer.everywhere]
            order += [self.graph.mlp_reader(number)] if layer.mlp else []
            order += [first + slot for slot in layer.late_queries]
        return [*order, len(self.graph.readers) - 1]

    @cached_property
    def columns(self) -> dict[int, int]:
        """The place of each of these readers among them."""
        return {reader: place for place, reader in enumerate(self.readers)}

    def picks(self, places: Sequence[int], device: torch.device) -> Picks:
        """How to take these places of an axis. What has to be brought to the device is brought there once."""
        if len(places) and [*places] == [*range(places[0], places[0] + len(places))]:
            return slice(places[0], places[0] + len(places))
        key = (*places, device)
        if key not in self._picks:
            self._picks[key] = torch.tensor([*places], device=device)
        return self._picks[key]

    def arranged(self, edges: Tensor) -> Tensor:
        """Of a mask [.., writer, reader] what belongs to the computed writers and the readers that are read, in order."""
        for dim, places in ((-2, self.computed), (-1, self.readers)):
            picks = self.picks(places, edges.device)
            edges = (
                edges.narrow(dim, places[0], len(places))
                if isinstance(picks, slice)
                else edges.index_select(dim, picks)
            )
        return edges


def make_plan(
    graph: Graph, candidates: Tensor, *, heads_share_norm: bool = False, together: int = 1, whole: float = 1.0
) -> Plan:
    """The plan for a run whose mask may be non-zero only on `candidates`, bool [writer, reader].

    `heads_share_norm`: what a head writes depends on its whole layer, so heads are late together. `together`: how many
    kv-heads can run only at once. `whole`: above this share of running heads a layer runs whole, at all tokens.
    """
    live = writers_on_path(graph, candidates)
    # Heads run by kv group: a group shares its keys and values, so its other heads come almost for free.
    grouped = live.clone()
    per_group = graph.heads // graph.kv_heads * together
    for layer in range(graph.layers):
        heads = graph.head_writers(layer)
        grouped[heads] = live[heads].view(-1, per_group).any(dim=1).repeat_interleave(per_group)
        if float(grouped[heads].float().mean()) > whole:
            grouped[heads] = True
    late = late_writers(graph, candidates & grouped[:, None], heads_share_norm)
    fed = (candidates & live[:, None]).any(dim=0)
    if whole < 1:
        late, fed = torch.zeros_like(late), torch.ones_like(fed)
    layers = [_layer_plan(graph, layer, grouped, late, fed) for layer in range(graph.layers)]
    return Plan(graph, layers, grouped.nonzero().flatten().tolist())


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
