"""What one method finds: scores of all edges, and of a search the circuits they come from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, final

from edgewise.circuit import Circuit
from edgewise.comparison.entry import Entry, given_scores
from edgewise.contract import Found
from edgewise.methods import method, method_class, run_method
from edgewise.metrics import metric as find_metric
from edgewise.request import Request, Wanted
from edgewise.scores import Scores
from edgewise.store.disk import unwritten

# The counts that searches leave in the provenance of their circuits.
COUNTED = ("tested", "steps")
# The options of methods that name such files.
NEEDED_TO_GO_ON = ("trace", "checkpoint")


@final
@dataclass(frozen=True)
class MethodOutcome:
    """What a method of a comparison found, and the seconds that took."""

    entry: Entry
    found: Found
    seconds: float

    @property
    def scores(self) -> Scores:
        """Its score of every edge; of a search the value of its size option at which an edge goes."""
        assert self.found.scores is not None
        return self.found.scores

    @property
    def circuits(self) -> tuple[Circuit, ...]:
        """Those of a search, from few edges to many; of a method that scores any number of its best edges makes one."""
        return self.found.circuits

    @property
    def size_option(self) -> str | None:
        """The size option its circuits lie along, if they do."""
        return self.found.size_option

    @property
    def values(self) -> tuple[float, ...]:
        """The value of the size option for each of its circuits."""
        return self.found.values

    @property
    def manner(self) -> str:
        """How it came to its circuits, in a few words."""
        if self.size_option is None:
            return "by |score|" if self.entry.absolute else "by score"
        return f"{len(self.circuits)} by {self.size_option}"

    @property
    def tested(self) -> int | None:
        """How many removals a search tested in all, where it says so."""
        return self._counted("tested")

    @property
    def work(self) -> str:
        """What its searches did in all, as they count it (`COUNTED`), in words; empty where they count nothing."""
        counts = {name: self._counted(name) for name in COUNTED}
        return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count is not None)

    @property
    def cost(self) -> str:
        """What the method costs, in its own words."""
        return "given" if self.entry.scores is not None else method_class(self.entry.method).cost

    def _counted(self, name: str) -> int | None:
        counts = [circuit.provenance.get(name) for circuit in self.circuits]
        return sum(counts) if counts and all(isinstance(count, int) for count in counts) else None  # type: ignore[arg-type]

    def nearest(self, size: int) -> Circuit:
        """The circuit of that many edges: the best-scored ones, or of a search the nearest in size (the smaller on a tie)."""
        if not self.circuits:
            return self.scores.top(size, absolute=self.entry.absolute)
        return min(self.circuits, key=lambda circuit: (abs(len(circuit) - size), len(circuit)))

    def measurable(self, sizes: Sequence[int]) -> list[Circuit]:
        """The circuits that stand for the method, each once: all that a search found, else the best-scored of each size."""
        circuits = self.circuits or [self.scores.top(size, absolute=self.entry.absolute) for size in sizes]
        return sorted({circuit.edges: circuit for circuit in circuits}.values(), key=len)


def run_entry(entry: Entry, request: Request, sizes: Sequence[int], *, partial: Path | None = None) -> MethodOutcome:
    """Runs one method of a comparison. `partial` is a folder in which a method that can keeps how far it has come."""
    if entry.scores is not None:
        return MethodOutcome(entry, Found(given_scores(entry, request.subject.graph)), 0.0)
    request, started = request_of(entry, request, sizes), time.perf_counter()
    found = run_method(_keeping(method(entry.method, entry.options), partial), request)
    return MethodOutcome(entry, found, time.perf_counter() - started + request.seconds_before)


def request_of(entry: Entry, request: Request, sizes: Sequence[int]) -> Request:
    """What one method of a comparison is asked for."""
    chosen = method(entry.method, entry.options)
    return replace(
        request,
        pairs=request.pairs if entry.examples is None else request.pairs[: entry.examples],
        metric=find_metric(entry.metric or chosen.metric or request.metric),
        wanted=Wanted("sizes", sizes=tuple(sizes), values=None if entry.values is None else tuple(entry.values)),
        notes={},
    )


def _keeping(chosen: Any, folder: Path | None) -> Any:
    """The method with the files that it needs to go on after an interruption in `folder`, if it keeps any."""
    if folder is None:
        return chosen
    known = {field.name for field in fields(chosen)}
    own = [name for name in NEEDED_TO_GO_ON if name in known and getattr(chosen, name) is None]
    if own:
        with unwritten(folder):
            folder.mkdir(parents=True, exist_ok=True)
    return replace(chosen, **{name: str(folder / name) for name in own})
