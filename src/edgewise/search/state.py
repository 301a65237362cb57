"""State: what a search asks of a model: what the metric becomes when edges go, given those that went before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from edgewise.graph import Graph


@final
@dataclass(frozen=True)
class Removal:
    """Edges into one reader that go together: those from `writers`, or with None all there are.

    `tested` is False for edges that go whatever the metric says.
    """

    reader: int
    writers: tuple[int, ...] | None
    tested: bool = True

    @property
    def rows(self) -> int | list[int] | slice:
        """The part of the reader's column of a mask that goes."""
        if self.writers is None:
            return slice(None)
        return self.writers[0] if len(self.writers) == 1 else list(self.writers)

    def edges(self, graph: Graph) -> int:
        """How many edges go."""
        return graph.reach(self.reader) if self.writers is None else len(self.writers)

    def label(self, graph: Graph) -> str:
        """`writer->reader`, several writers with commas between, or `->reader` for all edges into a reader."""
        writers = ",".join(graph.writers[writer] for writer in self.writers or ())
        return f"{writers}->{graph.readers[self.reader]}"


class State(ABC):
    """A circuit that loses edges. `mask` bool [writer, reader]: what is left; `value`: its metric, lower is better."""

    graph: Graph
    mask: Tensor
    value: float

    @abstractmethod
    def effects(self, removals: Sequence[Removal]) -> Iterator[tuple[Removal, float]]:
        """Each removal with the metric of the circuit without it, one after the other.

        `decide` is to be called for each before the next is asked for, which is judged on top of what went before. All are
        at `logits`, at one MLP or at the attention of one layer, and these come from the output back.
        """

    @abstractmethod
    def decide(self, removal: Removal, after: float, kept: bool) -> None:
        """Take a removal back (`kept`), or make it: `after` is then the metric of the circuit."""

    @abstractmethod
    def drop(self, readers: Sequence[int]) -> None:
        """Remove all edges into readers whose node nobody reads any more: nothing changes."""
