"""The contract of every method, whether it scores, searches or trains: a request in, what was found out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from edgewise.arguments import Size, count_of
from edgewise.circuit import Circuit
from edgewise.engine.tiling import Tiling
from edgewise.options import ITS_METRIC, options_of
from edgewise.request import Request, Wanted
from edgewise.score_levels import LevelName
from edgewise.scores import Scores
from edgewise.sweeps import Sweep

DEFAULT_SHARE = 0.1


@final
@dataclass(frozen=True)
class Found:
    """What a method found: scores, circuits, or both.

    `scores`: scores of all edges, nodes or neurons; None if a search found a single circuit.
    `circuits`: the circuits of a search, from few edges to many; none for a method that scores.
    `size_option`, `values`: the size option that the circuits lie along, and its value for each.
    """

    scores: Scores | None
    circuits: tuple[Circuit, ...] = ()
    size_option: str | None = None
    values: tuple[float, ...] = ()

    @classmethod
    def along(cls, size_option: str, values: Sequence[float], circuits: Sequence[Circuit]) -> Found:
        """Circuits at descending values of a size option, with the scores that follow from them.

        `size_option`, `values`, `circuits`: as in Sweep.
        """
        sweep = Sweep(size_option, tuple(values), tuple(circuits))
        return cls(sweep.scores, sweep.circuits, size_option, sweep.values)

    @property
    def sweep(self) -> Sweep | None:
        """The circuits along the size option as a Sweep; None if there is none."""
        return None if self.size_option is None else Sweep(self.size_option, self.values, self.circuits)

    def circuit(self, size: Size | None = None, *, level: LevelName = "edges", absolute: bool = True) -> Circuit:
        """The circuit of a search, or the one of the best-scored edges, nodes or neurons.

        `size`: how many, or a share such as "10%"; by default a tenth of all.
        `level`: "edges", "nodes" or "neurons".
        `absolute`: whether to rank by absolute value, or by signed value.
        """
        if self.scores is None:
            (circuit,) = self.circuits
            return circuit
        return best_scored(self.scores.at(level), size, absolute=absolute)

    def with_provenance(self, **entries: Any) -> Found:
        """The same with `entries` added to every provenance."""
        circuits = tuple(circuit.with_provenance(**entries) for circuit in self.circuits)
        if self.size_option is not None:
            return Found.along(self.size_option, self.values, circuits)
        return Found(None if self.scores is None else self.scores.with_provenance(**entries), circuits)


class Method(ABC):
    """A way to find circuits, with its options as the fields of a frozen dataclass.

    Class variables describe it: `name`, `summary`, `cost` and `paper`. `metric` is the metric it uses if none is named;
    None stands for that of the task. `additive` says that its scores are means over the examples. `examples` is how many
    prompts it wants of a task, None for the usual number; `replaces`: whether it needs edges that carry something else than
    in the clean run. `size_option` names the option that says how much a circuit keeps,
    the larger the fewer; `size_values` are its values in a sweep by default.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    cost: ClassVar[str]
    paper: ClassVar[str] = ""
    metric: ClassVar[Any] = None
    additive: ClassVar[bool] = False
    examples: ClassVar[Any] = None
    replaces: ClassVar[bool] = True
    size_option: ClassVar[Any] = None
    size_values: ClassVar[tuple[float, ...]] = ()

    @abstractmethod
    def refuse(self, wanted: Wanted) -> None:
        """Raise InvalidValue, before anything is computed, if this method cannot give what is `wanted`."""

    @abstractmethod
    def run(self, request: Request) -> Found:
        """Find what `request` asks for, and return it as Found."""

    def divides(self, wanted: Wanted) -> bool:
        """Whether each of several ranks does a part of what is wanted alone, on all pairs, instead of all on some pairs."""
        return False

    def units(self, request: Request) -> dict[str, str]:
        """The name of the metric that each option is in which is a number of some metric, on this request."""
        named = {one.name: one.unit for one in options_of(type(self)).values() if one.unit}
        return {
            name: request.metric.name if unit == ITS_METRIC else str(getattr(self, unit))
            for name, unit in named.items()
            if getattr(self, name) is not None
        }

    # -- memory: what an estimate of it asks ------------------------------------------------------------------------

    def sizes(self, request: Request, tiling: Tiling) -> Iterator[tuple[int, Tiling]]:
        """How many pairs may run at once, in pieces of which sizes: first as asked for, then ever less memory."""
        return halves(min(request.batch_size, len(request.pairs)), tiling)

    def rehearsal(self, request: Request) -> Callable[[], object]:
        """What takes as much memory on the few pairs of a request as the method does on many, for each; quick beside it.

        What is not to be counted is done before the function is returned.
        """
        return lambda: self.run(request)

    def kept(self, request: Request) -> int:
        """Bytes that it keeps of all pairs besides, where there is room for them."""
        return 0


def halves(pairs: int, tiling: Tiling) -> Iterator[tuple[int, Tiling]]:
    """So many pairs at once, half as many, and so on down to one."""
    while pairs:
        yield pairs, tiling
        pairs //= 2


def best_scored(scores: Scores, size: Size | None, *, absolute: bool = True) -> Circuit:
    """The circuit of the `size` best-scored edges, nodes or neurons (default a tenth of all); the provenance counts them.

    Of edges and neurons without those on no path from an input writer to `logits`.
    """
    size = max(1, round(DEFAULT_SHARE * len(scores))) if size is None else count_of(size, len(scores), scores.level)
    selected = scores.top(size, absolute=absolute)
    if scores.level == "nodes":
        edges = {"selected": len(selected), "kept": len(selected), "total": scores.graph.n_edges}
        return selected.with_provenance(edges=edges, nodes={"selected": size, "kept": size, "total": len(scores)})
    kept = selected.without_dangling()
    return kept.with_provenance(**{scores.level: {"selected": size, "kept": len(kept), "total": kept.total}})
