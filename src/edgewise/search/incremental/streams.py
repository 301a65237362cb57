"""What a pruned circuit connects (Wiring), what its writers wrote last, and what its readers get of it (Streams)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from edgewise.engine.plan import late_writers
from edgewise.graph import Graph
from edgewise.search.incremental.places import Places, Replaced


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
        layer, _, slot = graph.place(reader)
        is_attention = layer < graph.layers and slot < graph.readers_per_layer - int(graph.mlps)
        writers = tuple(np.flatnonzero(column).tolist())
        return Intake(reader - slot if is_attention else reader, self.late_reader[reader], writers)


@final
class Streams:
    """`rows` [writer, token, d_model]: what each wrote last, minus its replacement, at the active tokens of `places`.

    `wiring`: the edges that were kept at the last `settle`, before which nothing can be asked. Rows of changed writers are
    [trial, token, d_model], at the answers alone for writers that are late.
    """

    def __init__(self, graph: Graph, places: Places, replaced: Replaced, rows: Tensor) -> None:
        self._graph, self._places, self._replaced, self.rows = graph, places, replaced, rows

    def settle(self, mask: Tensor) -> None:
        """The search moves on, with these edges kept: bool [writer, reader]."""
        self.wiring = Wiring(self._graph, mask)
        self._replaced.forget()

    def written(self, writers: Sequence[int], late: bool) -> Tensor:
        """What some writers, in ascending order, wrote last, minus their replacement: [writer, token, d_model]."""
        first, stop = writers[0], writers[-1] + 1
        rows = self.rows[first:stop]  # neighbours are not copied
        if stop - first > len(writers):
            rows = self.rows[torch.tensor(writers, device=self.rows.device)]
        return self._places.narrow(rows) if late else rows

    def last(self, intake: Intake, without: Set[int] = frozenset()) -> Tensor:
        """What readers of an intake got last, but for the part of some writers: [token, d_model]."""
        stream, writers = self._replaced.stream(intake.site, intake.late), sorted(set(intake.writers) - without)
        return stream + self.written(writers, intake.late).sum(dim=0) if writers else stream

    def now(self, intake: Intake, changed: Mapping[int, Tensor]) -> Tensor:
        """What readers of an intake get in each trial, [trial, token, d_model], given the rows of writers that changed."""
        read = [writer for writer in intake.writers if writer in changed]
        stream = self.last(intake, set(read))[None]
        for number, writer in enumerate(read):
            rows = changed[writer]
            part = self._places.narrow(rows) if intake.late and not self.wiring.late[writer] else rows
            stream = stream.add_(part) if number else stream + part
        return stream

    def store(self, changed: Mapping[int, Tensor], number: int) -> None:
        """Keep what changed writers wrote in the trial of this number."""
        for writer, rows in changed.items():
            where = self._places.answers_active if self.wiring.late[writer] else slice(None)
            self.rows[writer, where] = rows[number]
