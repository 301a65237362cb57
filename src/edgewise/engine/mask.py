"""Mask: what a masked run keeps, of edges and, if asked, of the neurons of every write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch
from edgewise.graph import Graph
from edgewise.models.subject import Subject


@final
@dataclass(frozen=True)
class Mask:
    """How much is kept, from 0 (replaced) to 1 (clean): of each edge and, unless `neurons` is None, of each neuron.

    `edges` [writer, reader]; `neurons` [writer, d_model], the coordinates a writer adds to the residual stream, for all its
    readers alike. A mask of several runs has a leading axis on either or both; one of whose edges every example has its own
    is [mask, example, writer, reader]. What edge w → r carries is

        replaced_w + edges[w, r] · neurons[w] ∘ (written_w − replaced_w).

    `candidates`, bool [writer, reader]: the edges that may be kept in some run; None to look for them. A gradient is computed
    at these alone, and no others may be kept.
    """

    edges: Tensor
    neurons: Tensor | None = None
    candidates: Tensor | None = None

    @classmethod
    def of(cls, circuit: Circuit) -> Mask:
        """The mask under which the model computes what a circuit does."""
        return cls(circuit.mask, circuit.neurons)

    @property
    def several(self) -> bool:
        """Whether it is of several runs."""
        return any(part.ndim > 2 for part in (self.edges, self.neurons) if part is not None)

    @property
    def differentiable(self) -> bool:
        """Whether a gradient is wanted, and may be anywhere."""
        asked = any(part.requires_grad for part in (self.edges, self.neurons) if part is not None)
        return asked and torch.is_grad_enabled()

    def stacked(self, subject: Subject, examples: int) -> Mask:
        """With a leading axis of equal length on both parts, in the type the subject computes in."""
        graph, parts = subject.graph, [self.edges, *([] if self.neurons is None else [self.neurons])]
        shapes = (tuple(graph.edge_mask.shape), (len(graph.writers), subject.d_model))
        for part, shape, owner in zip(parts, shapes, ("the graph", "one of neurons"), strict=False):
            if part.shape[-2:] != shape:
                raise GraphMismatch(f"the mask has shape {tuple(part.shape)}, but {owner} needs {shape}")
            if part.ndim == 4 and part.shape[1] != examples:
                raise GraphMismatch(f"the masks are for {part.shape[1]:,} examples, but there are {examples:,}")
        count = max(len(part) if part.ndim > 2 else 1 for part in parts)
        ready = (part.to(subject.work_dtype) for part in parts)
        stacked = [part.expand(count, *part.shape[part.ndim > 2 :]) for part in ready]
        return Mask(stacked[0], None if self.neurons is None else stacked[1], self.candidates)

    def on(self, device: torch.device) -> Mask:
        """The same on a device."""
        neurons = None if self.neurons is None else self.neurons.to(device)
        return Mask(self.edges.to(device), neurons, self.candidates)

    def candidate_edges(self, graph: Graph) -> Tensor:
        """bool [writer, reader], of a stacked mask: its candidates; else all edges for a gradient, or those it keeps."""
        if self.candidates is not None:
            return self.candidates.cpu()
        if self.differentiable:
            return graph.edge_mask
        return self.carrying().flatten(0, -3).any(dim=0).cpu() & graph.edge_mask

    def carrying(self) -> Tensor:
        """bool, shape of a stacked mask's edges: those that are kept to some degree and lead from a neuron that is."""
        kept = self.edges != 0
        if self.neurons is None:
            return kept
        leading = (self.neurons != 0).any(dim=-1, keepdim=True)
        return kept & (leading if kept.ndim == 3 else leading[:, None])
