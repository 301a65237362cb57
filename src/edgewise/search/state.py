"""What a search removes, by which rule it takes that back, and what it asks of a model: the metric without these edges."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from edgewise.errors import InvalidValue
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


def removals_into(graph: Graph, readers: Iterable[int], candidates: Tensor) -> list[Removal]:
    """Edge by edge, from the last writer down to `input`; what is no candidate goes before, all together."""
    removals = []
    for reader in readers:
        writers = list(reversed(range(graph.reach(reader))))
        tested = candidates[:, reader].tolist()
        others = tuple(writer for writer in writers if not tested[writer])
        removals += [Removal(reader, others, tested=False)] if others else []
        removals += [Removal(reader, (writer,)) for writer in writers if tested[writer]]
    return removals


@final
@dataclass(frozen=True)
class KeepRule:
    """Edges are kept whose removal changes the metric (lower is better) by `tau` or more.

    Tau is at least 0; −∞, at which everything is kept, is let through. `sign`: "signed" takes an improvement for no change,
    "absolute" for a change. `whole_readers`: try all edges into a q, k or v together first. InvalidValue for other values.
    """

    tau: float
    sign: Literal["signed", "absolute"]
    whole_readers: bool

    def __post_init__(self) -> None:
        if self.sign not in ("signed", "absolute"):
            raise InvalidValue(f"rule must be 'signed' or 'absolute', not {self.sign!r}")
        tau = self.tau
        if isinstance(tau, bool) or not isinstance(tau, (int, float)) or math.isnan(tau):
            raise InvalidValue(f"tau must be a number, not {tau!r}")
        if -math.inf < tau < 0:
            raise InvalidValue(
                f"tau must be at least 0, not {tau!r}: it is the change of the metric that keeps an edge"
            )

    def keeps(self, before: float, after: float) -> bool:
        """Whether a removal that moves the metric so is taken back; a change of exactly tau is."""
        change = abs(after - before) if self.sign == "absolute" else after - before
        return not change < self.tau


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
