"""Wiring: what a pruned circuit connects, as a frontier asks for it at one place of a search."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
from torch import Tensor

from edgewise.engine.plan import late_writers
from edgewise.graph import Graph


class Intake(NamedTuple):
    """What a reader gets: the kept edges into it, and whether it is needed at the answers alone.

    Readers of one layer's attention have the first of these as their `site`: those of equal intake get the same stream.
    """

    site: int
    late: bool
    writers: tuple[int, ...]


@final
class Wiring:
    """The kept edges of `mask` bool [writer, reader] as they are now: later changes do not show.

    `late`, `late_reader`: of each writer and reader, whether it is needed at the answers alone.
    """

    def __init__(self, graph: Graph, mask: Tensor) -> None:
        late: Any = late_writers(graph, mask).numpy()
        at_answers: Any = (graph.serves.numpy() & late).any(axis=1)
        for layer in range(graph.layers):  # keys and values are read at every token
            at_answers[graph.k_readers(layer).start : graph.v_readers(layer).stop] = False
        at_answers[-1] = True
        self.late: list[bool] = late.tolist()
        self.late_reader: list[bool] = at_answers.tolist()
        self._graph, self._kept = graph, mask.numpy().copy()
        # Few nodes are asked about at one place: each is looked up when it is.
        self._read_by: dict[int, list[int]] = {}
        self._intakes: dict[int, Intake] = {}

    def read_by(self, writer: int) -> list[int]:
        """The readers of a writer."""
        if writer not in self._read_by:
            self._read_by[writer] = np.flatnonzero(self._kept[writer]).tolist()
        return self._read_by[writer]

    def intake(self, reader: int) -> Intake:
        """What a reader gets."""
        if reader not in self._intakes:
            self._intakes[reader] = self.intake_of(reader, self._kept[:, reader])
        return self._intakes[reader]

    def intake_of(self, reader: int, column: Any) -> Intake:
        """What a reader gets if `column`, an array bool [writer], is kept of the edges into it."""
        graph = self._graph
        layer, slot = divmod(reader, graph.readers_per_layer)
        is_attention = layer < graph.layers and slot < graph.readers_per_layer - int(graph.mlps)
        writers = tuple(np.flatnonzero(column).tolist())
        return Intake(reader - slot if is_attention else reader, self.late_reader[reader], writers)
