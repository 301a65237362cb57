"""What one method finds: scores of all edges, and of a search the circuits they come from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, final

from edgewise.api import attribute, discover, sweep
from edgewise.circuit import Circuit
from edgewise.comparison.compare_recipe import Entry
from edgewise.errors import InvalidValue
from edgewise.methods import METHODS, method
from edgewise.metrics import metric as find_metric
from edgewise.request import Request
from edgewise.scores import Scores
from edgewise.search import Search
from edgewise.sweeps import Sweep

# The counts that searches leave in the provenance of their circuits.
COUNTED = ("tested", "steps")
# The options of methods that name such files.
NEEDED_TO_GO_ON = ("trace", "checkpoint")


@final
@dataclass(frozen=True)
class MethodOutcome:
    """What a method found, and the seconds that took.

    `circuits`, from few edges to many, are those of a search, one for each of `values` of its `dial`; a method that scores
    edges has none, and any number of its best edges makes a circuit.
    """

    entry: Entry
    scores: Scores
    seconds: float
    circuits: tuple[Circuit, ...] = ()
    dial: str | None = None
    values: tuple[float, ...] = ()

    @property
    def manner(self) -> str:
        """How it came to its circuits, in a few words."""
        if self.dial is None:
            return "by |score|" if self.entry.absolute else "by score"
        return f"{len(self.circuits)} by {self.dial}"

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
        return METHODS[self.entry.method.replace("_", "-")].cost

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


def run_method(entry: Entry, request: Request, sizes: Sequence[int], *, partial: Path | None = None) -> MethodOutcome:
    """Runs one method of a comparison. `partial` is a folder in which a method that can keeps how far it has come."""
    chosen = method(entry.method, entry.options)
    if entry.examples is not None:
        request = replace(request, pairs=request.pairs[: entry.examples])
    how = {"ablation": request.ablation, "batch_size": request.batch_size, "track": request.track}
    started = time.perf_counter()
    if not isinstance(chosen, Search):
        metric = find_metric(entry.metric) if entry.metric is not None else request.metric
        scores = attribute(request.subject, request.pairs, method=_keeping(chosen, partial), metric=metric, **how)
        return MethodOutcome(entry, scores, time.perf_counter() - started)
    sized = [size for size in sizes if _takes(chosen, size)] if entry.values is None else []
    how = {**how, "metric": entry.metric}
    if sized:
        found = _sized(chosen, request, sorted(sized), partial, how)
    else:
        found = sweep(request.subject, request.pairs, method=_keeping(chosen, partial), values=entry.values, **how)
    seconds = time.perf_counter() - started
    return MethodOutcome(entry, found.scores, seconds, found.circuits, found.dial, found.values)


def _sized(chosen: Search, request: Request, sizes: list[int], partial: Path | None, how: dict[str, Any]) -> Sweep:
    """One run for each size, of a search that can be told one."""
    total = request.subject.graph.n_edges
    runs = [(size, _keeping(chosen, partial, f"-{size}")) for size in sizes]
    circuits = [discover(request.subject, request.pairs, method=one, edges=size, **how) for size, one in runs]
    return Sweep("sparsity", tuple(1 - size / total for size in sizes), tuple(circuits))


def _takes(chosen: Search, size: int) -> bool:
    """Whether a search can be told to keep so many edges."""
    try:
        chosen.for_edges(size)
    except InvalidValue:
        return False
    return True


def _keeping(chosen: Any, folder: Path | None, suffix: str = "") -> Any:
    """The method with the files that it needs to go on after an interruption in `folder`, if it keeps any."""
    if folder is None:
        return chosen
    known = {one.name for one in fields(chosen)}
    own = [name for name in NEEDED_TO_GO_ON if name in known and getattr(chosen, name) is None]
    if own:
        folder.mkdir(parents=True, exist_ok=True)
    return replace(chosen, **{name: str(folder / f"{name}{suffix}") for name in own})
