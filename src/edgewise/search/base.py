"""The contract of a search: a model and pairs in, a circuit out."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, final

from torch import Tensor

from edgewise.attribution.base import scores_no_nodes
from edgewise.attribution.memory import memory_size
from edgewise.circuit import Circuit
from edgewise.contract import Found, Method
from edgewise.errors import InvalidValue
from edgewise.plugins import described, given
from edgewise.provenance import provenance
from edgewise.ranks import alone, current
from edgewise.request import LOCAL, Request, Wanted


@final
@dataclass(frozen=True)
class Kept:
    """What a search keeps: `mask` bool [writer, reader], and counts for the provenance.

    `seconds`: how long it took, where the search knows better than whoever called it.
    """

    mask: Tensor
    counts: dict[str, Any]
    seconds: float | None = None


class Search(Method):
    """A method that decides itself which edges a circuit keeps, instead of scoring all of them."""

    metric: ClassVar[str]
    size_option: ClassVar[str]

    @abstractmethod
    def for_edges(self, edges: int | None) -> Self:
        """The same search set to keep so many edges (None: as it is); InvalidValue if it decides that itself."""

    @abstractmethod
    def search(self, request: Request) -> Kept:
        """The edges that are kept. A search judges all pairs together, whatever the batch size."""

    def searches(self, variants: Sequence[Any], request: Request) -> list[Circuit]:
        """The circuit of each of some variants of this search, which differ in how much they keep."""
        return [_searched(variant, request) for variant in variants]

    def rehearsal(self, request: Request) -> Callable[[], object]:
        return lambda: self.search(request)

    def refuse(self, wanted: Wanted) -> None:
        if wanted.level != "edges":
            raise (
                InvalidValue(f"a sweep of {self.name} selects edges, not {wanted.level}")
                if wanted.goal == "sweep"
                else scores_no_nodes(self.name)
            )
        if wanted.goal == "scores":
            raise InvalidValue(f"{self.name} finds a circuit and scores no edges; use discover")
        if wanted.memory_limit is not None:
            memory_size(wanted.memory_limit)
        if wanted.goal == "circuit":
            self.for_edges(wanted.edges)

    def run(self, request: Request) -> Found:
        wanted = request.wanted
        if wanted.goal == "circuit":
            return Found(None, (_searched(self.for_edges(wanted.edges), request),))
        told = [size for size in sorted(wanted.sizes) if self._takes(size)] if wanted.values is None else []
        if told:
            return self._at_sizes(told, request)
        values = self._values(wanted)
        return Found.along(self.size_option, values, self._along(values, request))

    def divides(self, wanted: Wanted) -> bool:
        """Along values of the size option, each rank searches at some of them where there are enough."""
        told = wanted.values is None and any(map(self._takes, wanted.sizes))
        return wanted.goal != "circuit" and not told and 1 < current().count <= len(self._values(wanted))

    def _values(self, wanted: Wanted) -> list[float]:
        return sorted(set(self.size_values if wanted.values is None else wanted.values), reverse=True)

    def _along(self, values: Sequence[float], request: Request) -> list[Circuit]:
        """The circuit at each value."""
        if not self.divides(request.wanted):
            return self.searches([at_value(self, value) for value in values], request)
        ranks, search = current(), _with_files_of_first(self)
        with alone():
            mine = [at_value(search, value) for value in values[ranks.number :: ranks.count]]
            circuits = search.searches(mine, request)
        every = ranks.gather(circuits)
        return [every[number % ranks.count][number // ranks.count] for number in range(len(values))]

    def _at_sizes(self, sizes: Sequence[int], request: Request) -> Found:
        """One run for each number of edges."""
        total = request.subject.graph.n_edges
        runs = [_renamed(self.for_edges(size), f"-{size}") for size in sizes]
        return Found.along("sparsity", [1 - size / total for size in sizes], self.searches(runs, request))

    def _takes(self, edges: int) -> bool:
        """Whether it can be told to keep so many edges."""
        try:
            self.for_edges(edges)
        except InvalidValue:
            return False
        return True


class SharingSearch(Search):
    """A search whose runs at several values of its size option share work."""

    @abstractmethod
    def sweep(self, values: Sequence[float], request: Request) -> list[Kept]:
        """What `search` finds at each value, in the order given."""

    def searches(self, variants: Sequence[Any], request: Request) -> list[Circuit]:
        found = self.sweep([getattr(variant, variant.size_option) for variant in variants], request)
        return [circuit_of(one, request, kept, kept.seconds or 0.0) for one, kept in zip(variants, found, strict=True)]


def _searched(search: Search, request: Request) -> Circuit:
    started = time.perf_counter()
    kept = search.search(request)
    return circuit_of(search, request, kept, time.perf_counter() - started)


def circuit_of(search: Search, request: Request, kept: Kept, seconds: float) -> Circuit:
    """The circuit of what a search kept, with its provenance."""
    graph, whose = request.subject.graph, f"the method {search.name!r}"
    given(whose, kept, Kept, "Kept(mask, counts)")
    if not isinstance(kept.mask, Tensor) or kept.mask.shape != graph.edge_mask.shape:
        shape = list(graph.edge_mask.shape)
        raise InvalidValue(f"{whose} kept {described(kept.mask)}; its mask must be bool {shape}, writer by reader")
    facts = provenance(request, search, seconds)
    # What a search keeps is its result, dangling edges and all: dropping them is the caller's choice.
    counts = {"selected": int(kept.mask.sum()), "kept": int(kept.mask.sum()), "total": graph.n_edges}
    return Circuit(graph, kept.mask, {**facts, **kept.counts, "edges": counts})


S = TypeVar("S", bound=Search)


def at_value(search: S, value: float) -> S:
    """The search with its size option at a value, and with that value in the names of files that it keeps."""
    return replace(_renamed(search, f"-{value!r}"), **{search.size_option: value})  # type: ignore[type-var]


def _renamed(search: S, suffix: str) -> S:
    """The search with a suffix to the names of the files that it keeps."""
    paths = {name: Path(getattr(search, name)) for name in LOCAL if getattr(search, name, None)}
    names = {name: str(path.with_name(f"{path.stem}{suffix}{path.suffix}")) for name, path in paths.items()}
    return replace(search, **names)  # type: ignore[type-var]


def _with_files_of_first(search: S) -> S:
    """The search with the files that the first rank keeps, where this rank can reach their folders."""
    named = current().of_first(lambda: {name: getattr(search, name, None) for name in LOCAL})
    reached = {name: path for name, path in named.items() if path and os.path.isdir(Path(path).parent)}
    return replace(search, **reached)  # type: ignore[type-var]


def refuse_edges(name: str, edges: int | None) -> None:
    """InvalidValue if a search that finds its own number of edges was asked for one."""
    if edges is not None:
        raise InvalidValue(f"{name} decides itself how many edges it keeps; leave the number of edges out")
