"""WriterGates: gates that open and close whole nodes, or whole blocks, before edges have gates of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.engine.writer_buffer import Workspace
from edgewise.graph import Graph
from edgewise.pruning.batch_cache import CleanBatch
from edgewise.pruning.gate_layout import GateLayout

# Writers without a gate: the inputs, which always write, and those that are closed for good.
ALWAYS_OPEN, NEVER_OPEN = -1, -2


@final
@dataclass(frozen=True, eq=False)
class WriterGates(GateLayout):
    """One gate for each group of heads and MLPs; a closed one is replaced as a whole, for all that read it.

    `group` int64 [writer]: the number of its gate, or `ALWAYS_OPEN` or `NEVER_OPEN`. A mask is [writer]. The edges
    `allowed`, bool [writer, reader], are those counted between open nodes; a q, k or v reader is open if a head that it
    serves is.
    """

    graph: Graph
    allowed: Tensor
    group: Tensor

    @classmethod
    def of_nodes(cls, graph: Graph, allowed: Tensor, open_: Tensor) -> WriterGates:
        """A gate for each head and MLP of those that are `open_`, bool [writer]."""
        return cls(graph, allowed, _numbered(graph, open_, torch.arange(len(graph.writers))))

    @classmethod
    def of_blocks(cls, graph: Graph, allowed: Tensor, open_: Tensor) -> WriterGates:
        """A gate for all heads of each layer together, and one for each MLP, of those that are `open_`, bool [writer]."""
        block = torch.arange(len(graph.writers))
        for layer in range(graph.layers):
            block[graph.head_writers(layer)] = graph.head_writers(layer).start
        return cls(graph, allowed, _numbered(graph, open_, block))

    @property
    def gates(self) -> int:
        return int(self.group.max()) + 1 if len(self.group) else 0

    @property
    def candidates(self) -> Tensor:
        return self.allowed

    def mask(self, gates: Tensor) -> Tensor:
        return torch.where(self._gated(gates), self._of_group(gates), (self.group == ALWAYS_OPEN).to(gates))

    def degrees(self, logits: Tensor) -> Tensor:
        return torch.where(self._gated(logits), self._of_group(logits), 0.0)

    def best(self, degrees: Tensor, room: int | None) -> Tensor:
        """bool [writer]: the best groups, as few as have at least `room` edges between them and the inputs; None: all."""
        gated, always = self.group >= 0, self.group == ALWAYS_OPEN
        by_gate = torch.zeros(self.gates, dtype=torch.float64).scatter(
            0, self.group[gated], degrees.double().cpu()[gated]
        )
        order = by_gate.sort(descending=True, stable=True).indices
        place = torch.full((len(self.group),), self.gates)
        place[gated] = torch.empty_like(order).scatter(0, order, torch.arange(self.gates))[self.group[gated]]
        # The first `enough` groups have room for as many edges, the first `few` have not.
        few, enough = -1, self.gates
        while room is not None and enough - few > 1:
            middle = (few + enough) // 2
            if int(self.edges_between((place < middle) | always).sum()) < room:
                few = middle
            else:
                enough = middle
        return (place < enough) | always

    def run(self, batch: CleanBatch, mask: Tensor, workspace: Workspace, among: Tensor) -> Tensor:
        return batch.run_nodes(mask)

    def opened(self, mask: Tensor) -> Tensor:
        readers = (self.graph.serves.to(mask) * mask).amax(dim=1)
        readers[-1] = 1.0
        return self.allowed.to(mask) * mask[:, None] * readers

    def edges_between(self, open_: Tensor) -> Tensor:
        """bool [writer, reader]: the allowed edges between the nodes `open_`, bool [writer]."""
        return self.opened(open_.float()) > 0

    def _gated(self, like: Tensor) -> Tensor:
        return (self.group >= 0).to(like.device)

    def _of_group(self, gates: Tensor) -> Tensor:
        return gates[self.group.clamp(min=0).to(gates.device)]


def _numbered(graph: Graph, open_: Tensor, block: Tensor) -> Tensor:
    """[writer]: the numbers of gates, one for each different value of `block` [writer] among those with a gate."""
    gated = open_.clone()
    gated[: len(graph.inputs)] = False
    group = torch.full((len(graph.writers),), NEVER_OPEN)
    group[gated] = block[gated].unique(return_inverse=True)[1]
    group[: len(graph.inputs)] = ALWAYS_OPEN
    return group
