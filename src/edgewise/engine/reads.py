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
    """How readers read `deltas`, the rows of the computed writers, under a stacked `mask` as the plan arranges it.

    `differs` [reader − 1]: whether a reader gets another input than the one before it; None for a mask with a gradient.
    """

    plan: Plan
    mask: Mask
    deltas: WriterBuffer
    tokens: Tokens
    differs: list[bool] | None

    @classmethod
    def of(cls, plan: Plan, mask: Mask, deltas: WriterBuffer, tokens: Tokens) -> Reads:
        """Those of a stacked mask, which may lie on the CPU: there it costs the device nothing to be looked at."""
        edges, differs = plan.arranged(mask.edges), None
        if not mask.differentiable:
            differs = (edges[..., 1:] != edges[..., :-1]).flatten(0, -2).any(dim=0).tolist()
        there = Mask(edges, mask.neurons).on(deltas.rows.device)
        deltas.open(there.edges)
        return cls(plan, there, deltas, tokens, differs)

    @property
    def graph(self) -> Graph:
        """The model's."""
        return self.plan.graph

    def base(self, stream: Tensor, tokens: Tensor | None) -> Tensor:
        """A replaced stream [example|1, position|1, d_model] as [token, d_model], at the given tokens; None for all."""
        flat = stream.to(self.deltas.rows).expand(*self.tokens.shape, -1).flatten(0, 1)
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

        They are beside one another among the plan's readers, and read the writers from `first_writer` on that the first of
        them can read. Where the inputs of all but those last ones are the same, as in circuits of nodes and of neurons, one
        input serves all.
        """
        rows = slice(self.plan.rows_before(first_writer), self.plan.rows_before(self.graph.reach(readers[0])))
        first, made = self.plan.columns[readers[0]], len(readers) - handed_on
        mask = self.mask.edges[..., rows, first : first + len(readers)]
        if made > 1 and self.differs is not None and not any(self.differs[first : first + made - 1]):
            mask = torch.cat([mask[..., :1], mask[..., made:]], dim=-1) if handed_on else mask[..., :1]
        return self.deltas.read(ReadPlan(mask, base, tokens, transform, (rows.start, first), handed_on))
