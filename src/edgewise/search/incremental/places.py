"""Places: the tokens at which a frontier runs nodes again, and what the replacement has there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.engine.replacement import Replacement
from edgewise.graph import Graph
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs


@final
@dataclass(frozen=True)
class Places:
    """Tokens of a batch of `shape` (examples, positions), as indices into all of them.

    `active`: those that an answer can depend on. `answers`: those whose logits are read;
    `answers_active`: where these stand among the active ones. Nodes that are late are needed at the answers alone.
    """

    shape: tuple[int, int]
    active: Tensor
    answers: Tensor
    answers_active: Tensor

    @classmethod
    def find(cls, subject: Subject, batch: Pairs) -> Places:
        """Of a causal model nothing matters after the answer."""
        examples, width = batch.clean.shape
        place = torch.arange(width, device=batch.clean.device)[None]
        needed = place <= batch.positions[:, None]
        if not subject.causal:
            needed = torch.ones_like(needed)
        active = needed.flatten().nonzero().flatten()
        answers = torch.arange(examples, device=place.device) * width + batch.positions
        return cls((examples, width), active, answers, torch.searchsorted(active, answers))

    def tokens(self, late: bool) -> Tensor:
        """Where a node is needed, as indices of all tokens."""
        return self.answers if late else self.active

    def narrow(self, rows: Tensor) -> Tensor:
        """Rows [.., active token, d] at the answers."""
        return rows.index_select(-2, self.answers_active.to(rows.device))


@final
class Replaced:
    """What a replacement gives at places: cut out when first asked for, and kept until `forget`."""

    def __init__(self, graph: Graph, replacement: Replacement, places: Places, dtype: torch.dtype) -> None:
        self._graph, self._replacement, self._places, self._dtype = graph, replacement, places, dtype
        self._kept: dict[tuple[str, int, bool], Tensor] = {}

    def forget(self) -> None:
        """Keep nothing of what was asked for."""
        self._kept.clear()

    def stream(self, reader: int, late: bool) -> Tensor:
        """What a reader gets when none of its edges is kept: [token, d_model]."""
        layer, _, slot = self._graph.place(reader)
        if layer == self._graph.layers:
            whole = self._replacement.final_in
        elif self._graph.mlps and reader == self._graph.mlp_reader(layer):
            whole = self._replacement.mlp_in[layer]
        else:  # the same for all readers of a layer's attention
            whole, reader = self._replacement.attention_in[layer], reader - slot
        return self._cut("reader", reader, late, whole).to(self._places.active.device, self._dtype)

    def mlp(self, layer: int, late: bool) -> Tensor:
        """What an MLP writes: [token, d_model]."""
        whole = self._replacement.writes.mlp[layer]
        return self._cut("writer", self._graph.mlp_writer(layer), late, whole).to(
            self._places.active.device, self._dtype
        )

    def z(self, layer: int, head: int, late: bool) -> Tensor:
        """What a head's output weight is applied to, in the model's dtype: [token, d_head]."""
        whole = self._replacement.writes.z[layer][..., head, :]
        return self._cut("writer", self._graph.head_writers(layer).start + head, late, whole)

    def _cut(self, kind: str, index: int, late: bool, whole: Tensor) -> Tensor:
        name = (kind, index, late)
        if name not in self._kept:
            flat = whole.expand(*self._places.shape, -1).flatten(0, 1)
            self._kept[name] = flat.index_select(0, self._places.tokens(late).to(flat.device))
        return self._kept[name]
