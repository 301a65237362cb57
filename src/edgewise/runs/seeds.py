"""Stability: circuits are not unique; how far those of several seeds agree."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from itertools import combinations
from statistics import mean
from typing import Any, final

from edgewise.api import discover
from edgewise.arguments import typed, typed_methods
from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.executors import each_done
from edgewise.methods import method as find_method
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import silent, watched
from edgewise.surroundings import neutrally


@final
@typed_methods
@dataclass(frozen=True)
class Stability:
    """Circuits of one method under different seeds, and how far they agree.

    `circuits`: at least two circuits of one graph; InvalidValue for fewer, GraphMismatch for different graphs.
    """

    circuits: tuple[Circuit, ...]

    def __post_init__(self) -> None:
        if len(self.circuits) < 2:
            raise InvalidValue("stability compares at least two circuits")
        if len({circuit.graph for circuit in self.circuits}) > 1:
            raise GraphMismatch("the circuits are of different graphs")

    @cached_property
    def jaccard(self) -> tuple[float, ...]:
        """The Jaccard index of every two circuits: the first with the second, the first with the third and so on.

        It is the number of shared edges over that of all edges of the two.
        """
        return tuple(a.jaccard(b) for a, b in combinations(self.circuits, 2))

    @property
    def mean(self) -> float:
        """The mean Jaccard index of two circuits."""
        return mean(self.jaccard)

    @property
    def min(self) -> float:
        """The Jaccard index of the two circuits that agree least."""
        return min(self.jaccard)

    @cached_property
    def core(self) -> Circuit:
        """The circuit of the edges that all circuits keep."""
        core, *others = self.circuits
        for other in others:
            core = core & other
        return core

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        sizes = [len(circuit) for circuit in self.circuits]
        return {
            "edges": sizes,
            "core": len(self.core),
            "mean": self.mean,
            "min": self.min,
            "jaccard": list(self.jaccard),
        }

    def __str__(self) -> str:
        sizes = sorted({len(circuit) for circuit in self.circuits})
        edges = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        return (
            f"{len(self.circuits)} circuits of {edges} edges: Jaccard index {self.mean:.2f} on average, {self.min:.2f} at "
            f"least; {len(self.core):,} edges in all of them"
        )


@typed
@watched
@neutrally
def stability(
    subject: Subject,
    pairs: Pairs,
    *,
    method: Any = "edge-pruning",
    seeds: int | Sequence[int] = 5,
    executor: Executor | None = None,
    progress: bool | None = None,
    **how: Any,
) -> Stability:
    """Run a method that depends on chance under several seeds and report how far its circuits agree.

    `subject`, `pairs`: as in `discover`.
    `method`: a method with the option `seed`.
    `seeds`: how many seeds (0, 1, …), or the seeds themselves.
    `executor`: one of `concurrent.futures`, or of dask, whose workers take one seed each.
    `progress`: as in `attribute`.
    `how`: further arguments of `discover`, options of the method included.

    Returns a Stability. Raises InvalidValue for a method without a seed, or for fewer than two seeds.
    """
    seed_values = range(seeds) if isinstance(seeds, int) else seeds
    options = {name: how.pop(name) for name in list(how) if name not in _DISCOVER}
    chosen = find_method(method, options)
    if "seed" not in {field.name for field in fields(chosen)}:  # type: ignore[arg-type]
        raise InvalidValue(f"{chosen.name} has no seed: it finds the same circuit every time")
    track = how.pop("track", silent)
    inner = {**how, "track": track if executor is None else silent}
    work = partial(_with_seed, subject, pairs, chosen, inner)
    found = dict(each_done(work, seed_values, executor, track, f"{chosen.name} with {len(seed_values)} seeds"))
    return Stability(tuple(found[seed] for seed in seed_values))


def _with_seed(subject: Subject, pairs: Pairs, method: Any, how: dict[str, Any], seed: int) -> Circuit:
    return discover(subject, pairs, method=replace(method, seed=seed), **how)


_DISCOVER = ("metric", "ablation", "edges", "absolute", "batch_size", "track")
