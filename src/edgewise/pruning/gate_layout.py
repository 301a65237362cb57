"""Where gates sit: a vector of gates in, a mask over edges out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from edgewise.engine.writer_buffer import Workspace
from edgewise.graph import Graph
from edgewise.pruning.batch_cache import CleanBatch


class GateLayout(ABC):
    """Gates on a graph."""

    graph: Graph

    @property
    @abstractmethod
    def gates(self) -> int:
        """How many gates there are."""

    @property
    @abstractmethod
    def candidates(self) -> Tensor:
        """bool [writer, reader]: the edges that some gate can open; all others stay replaced."""

    @abstractmethod
    def mask(self, gates: Tensor) -> Tensor:
        """The mask [..., writer, reader] of gates [..., gate]; differentiable."""

    @abstractmethod
    def degrees(self, logits: Tensor) -> Tensor:
        """In the shape of a mask: the sum of the logits of all gates passed there, 0 where there are none; differentiable."""

    def ranking(self, logits: Tensor) -> Tensor:
        """How far each edge is open, float64 [writer, reader]; −inf where no gate can open it."""
        openness = self.opened(self.mask(logits.double().cpu().sigmoid()))
        return openness.masked_fill(~self.candidates, -torch.inf)

    def by_degree(self, degrees: Tensor) -> Tensor:
        """The degrees of edges as a ranking, float64 [writer, reader]; −inf where no gate can open it."""
        return degrees.double().cpu().masked_fill(~self.candidates, -torch.inf)

    def best(self, degrees: Tensor, room: int | None) -> Tensor:
        """bool, in the shape of a mask: what is open by its degree if `room` edges may be; None: all that may be at all.

        Of equal ones the first in index order.
        """
        ranking = self.by_degree(degrees)
        count = int(self.candidates.sum()) if room is None else room
        best = ranking.flatten().sort(descending=True, stable=True).indices[:count]
        return torch.zeros(ranking.numel(), dtype=torch.bool).index_fill(0, best, value=True).view_as(ranking)

    def run(self, batch: CleanBatch, mask: Tensor, workspace: Workspace, among: Tensor) -> Tensor:
        """Logits [example, vocab] of a batch under a mask of this layout, with a gradient at the edges `among`."""
        return batch.run(mask, workspace, among)

    def opened(self, mask: Tensor) -> Tensor:
        """How far each edge is open under a mask of this layout, [..., writer, reader]."""
        return mask


Gated = Literal["edges", "edges+writers", "edges+nodes", "edges+nodes+blocks"]


@final
@dataclass(frozen=True, eq=False)
class EdgeGates(GateLayout):
    """One gate for each edge of `allowed`, bool [writer, reader], and, if `gated` says so, one for each writer.

    With writers' gates an edge is as open as its own gate times its writer's.
    """

    graph: Graph
    allowed: Tensor
    gated: Gated = "edges"

    @property
    def gates(self) -> int:
        return sum(self._parts)

    @property
    def candidates(self) -> Tensor:
        return self.allowed

    def mask(self, gates: Tensor) -> Tensor:
        edges, writers = gates.split(self._parts, dim=-1)
        mask = self._placed(edges)
        return mask * writers[..., None] if writers.shape[-1] else mask

    def degrees(self, logits: Tensor) -> Tensor:
        edges, writers = logits.split(self._parts, dim=-1)
        if writers.shape[-1]:
            edges = edges + writers[..., self._edges[:, 0].to(writers.device)]
        return self._placed(edges)

    def _placed(self, edges: Tensor) -> Tensor:
        """[..., writer, reader] of values [..., edge], 0 elsewhere."""
        shape = self.graph.edge_mask.shape
        empty = edges.new_zeros(*edges.shape[:-1], shape.numel())
        return empty.index_copy(-1, self._places.to(edges.device), edges).unflatten(-1, shape)

    def ranking(self, logits: Tensor) -> Tensor:
        # The logit of the edge, or with writers' gates the logarithm of the two probabilities' product.
        edges, writers = logits.double().cpu().split(self._parts)
        ranking = torch.full(self.graph.edge_mask.shape, -torch.inf, dtype=torch.float64)
        if len(writers):
            edges = logsigmoid(edges) + logsigmoid(writers)[self._edges[:, 0]]
        ranking[self._edges[:, 0], self._edges[:, 1]] = edges
        return ranking

    def ahead(self, scores: Tensor) -> Tensor:
        """[gate]: the logarithm of how much each edge scores [writer, reader], with mean 0 and deviation 1; writers' gates 0.

        Signs do not count, and scores of zero do as the smallest other.
        """
        size = scores.double().cpu().abs()[self.allowed]
        if not bool(size.any()):
            return torch.zeros(self.gates)
        logarithm = size.clamp(min=float(size[size > 0].min())).log()
        centred = logarithm - logarithm.mean()
        deviation = float(centred.square().mean().sqrt())
        edges = centred / deviation if deviation > 0 else centred
        return torch.cat([edges, edges.new_zeros(self._parts[1])]).float()

    @cached_property
    def _edges(self) -> Tensor:
        return self.allowed.nonzero()

    @cached_property
    def _places(self) -> Tensor:
        """[edge]: where each is in a flat mask."""
        return self.allowed.flatten().nonzero().flatten()

    @property
    def _parts(self) -> list[int]:
        return [len(self._edges), len(self.graph.writers) if self.gated == "edges+writers" else 0]


@final
@dataclass(frozen=True, eq=False)
class NodeGates(GateLayout):
    """One gate for each q, k and v reader and for each MLP, as in subnetwork probing; input writers and `logits` have none.

    A gate of a q, k or v scales what its reader gets, that of an MLP what it writes. Heads have no gate of their own.
    """

    graph: Graph

    @property
    def gates(self) -> int:
        return len(self.readers)

    @property
    def candidates(self) -> Tensor:
        return self.graph.edge_mask

    @cached_property
    def readers(self) -> Tensor:
        """The reader each gate belongs to: all but `logits`, in index order."""
        return torch.arange(len(self.graph.readers) - 1)

    @cached_property
    def weights(self) -> Tensor:
        """[gate]: the share of each gate in the mean over q, k, v of each layer and its MLP of their means.

        An MLP weighs as much as all heads' q of a layer, as published.
        """
        graph, parts = self.graph, list[slice]()
        for layer in range(graph.layers):
            parts += [graph.q_readers(layer), graph.k_readers(layer), graph.v_readers(layer)]
            if graph.mlps:
                parts.append(slice(graph.mlp_reader(layer), graph.mlp_reader(layer) + 1))
        weights = torch.empty(self.gates)
        for part in parts:
            weights[part] = 1 / (len(parts) * (part.stop - part.start))
        return weights

    def mask(self, gates: Tensor) -> Tensor:
        lead, is_mlp = gates.shape[:-1], self._is_mlp.to(gates.device)
        into = torch.cat([torch.where(is_mlp, 1.0, gates), gates.new_ones(*lead, 1)], dim=-1)
        all_open = gates.new_ones(*lead, len(self.graph.writers))
        out_of = all_open.index_copy(-1, self._mlp_writers.to(gates.device), gates[..., is_mlp])
        return self.graph.edge_mask.to(gates.device, gates.dtype) * out_of[..., None] * into[..., None, :]

    def degrees(self, logits: Tensor) -> Tensor:
        is_mlp = self._is_mlp.to(logits.device)
        into = torch.cat([logits.masked_fill(is_mlp, 0.0), logits.new_zeros(1)])
        out_of = logits.new_zeros(len(self.graph.writers)).index_copy(
            0, self._mlp_writers.to(logits.device), logits[is_mlp]
        )
        return self.graph.edge_mask.to(logits.device, logits.dtype) * (out_of[:, None] + into)

    def edges(self, open_: Tensor) -> Tensor:
        """bool [writer, reader]: edges whose writer and reader are kept, for the gates `open_`, bool [gate].

        An MLP is kept if its gate is open, a head writes if any of its q, k and v is; input writers and `logits` are kept.
        """
        open_ = open_.cpu()
        readers = torch.cat([open_, torch.ones(1, dtype=torch.bool)])
        writers = (self.graph.serves & readers[:, None]).any(dim=0)
        writers[: len(self.graph.inputs)] = True
        return self.graph.edge_mask & writers[:, None] & readers[None, :]

    @cached_property
    def _is_mlp(self) -> Tensor:
        table = torch.zeros(self.gates, dtype=torch.bool)
        if self.graph.mlps:
            table[[self.graph.mlp_reader(layer) for layer in range(self.graph.layers)]] = True
        return table

    @cached_property
    def _mlp_writers(self) -> Tensor:
        return torch.tensor(
            [self.graph.mlp_writer(layer) for layer in range(self.graph.layers) if self.graph.mlps]
        ).long()
