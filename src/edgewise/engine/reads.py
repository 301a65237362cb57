"""Reads: what the readers of a masked run get, x_r = base_r + Σ_w mask[w, r] · delta_w."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from edgewise.engine.mask import Mask
from edgewise.engine.plan import LayerPlan, Plan
from edgewise.engine.read_plan import ReadPlan, Transform
from edgewise.engine.writer_buffer import WriterBuffer
from edgewise.graph import Graph
from edgewise.models.block import Block


@final
@dataclass(frozen=True)
class Tokens:
    """The tokens of a batch of `shape` (examples, positions); `answers`: those at the answer positions, as indices of all."""

    shape: tuple[int, int]
    answers: Tensor

    @classmethod
    def of(cls, tokens: Tensor, positions: Tensor) -> Tokens:
        """Those of `tokens` [example, position] whose answers stand at `positions` [example]."""
        examples, width = tokens.shape
        offsets = torch.arange(examples, device=tokens.device) * width
        return cls((examples, width), offsets + positions.to(tokens.device))


class WalkedLayer(NamedTuple):
    """One layer of a masked run: its number, what to compute in it, its modules, and what its attention is called with."""

    number: int
    plan: LayerPlan
    block: Block
    context: dict[str, Any]


@final
@dataclass(frozen=True)
class Reads:
    """How readers read `deltas`, the rows of the computed writers, under a stacked `mask`."""

    graph: Graph
    plan: Plan
    mask: Mask
    deltas: WriterBuffer
    tokens: Tokens

    def base(self, stream: Tensor, tokens: Tensor | None) -> Tensor:
        """A replaced stream [example|1, position|1, d_model] as [token, d_model], at the given tokens; None for all."""
        flat = stream.to(self.deltas.rows.dtype).expand(*self.tokens.shape, -1).flatten(0, 1)
        return flat if tokens is None else flat[tokens]

    def read(
        self,
        readers: list[int],
        base: Tensor,
        tokens: Tensor | None,
        transform: Transform,
        *,
        first_writer: int = 0,
        handed_on: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """What is made of the inputs of some readers, and what is handed on of the last ones: [mask, reader, token, ·] both.

        They read the writers from `first_writer` on that the first of the readers can read. Where the inputs of all but those
        last ones are the same, as in circuits of nodes and of neurons, one input serves all.
        """
        rows = slice(self.plan.rows_before(first_writer), self.plan.rows_before(self.graph.reach(readers[0])))
        edges = self.mask.edges
        writers = self.plan.computed[rows].to(edges.device)
        mask = edges[..., writers[:, None], torch.tensor(readers, device=edges.device)]
        made = len(readers) - handed_on
        if made > 1 and not self.mask.differentiable and _alike(mask[..., :made]):
            mask = torch.cat([mask[..., :1], mask[..., made:]], dim=-1)
        return self.deltas.read(ReadPlan(mask, base, tokens, transform, rows.start, handed_on))


def _alike(mask: Tensor) -> bool:
    """Whether all readers, [mask, (example,) row, reader], read the same."""
    return bool((mask == mask[..., :1]).all())
