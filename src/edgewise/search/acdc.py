"""ACDC: removes every edge, from the output back, whose removal changes the metric by less than a threshold.

    remove e  if  metric(circuit without e) − metric(circuit) < τ        (metric: lower is better, KL to the clean model)

Conmy et al. 2023, "Towards Automated Circuit Discovery". An edge that goes stays gone and its metric is the new baseline.
Before the edges into a head's q, k and v, all of them together are tried ("whole readers").
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, final

from torch import Tensor

from edgewise.engine.tiling import Tiling
from edgewise.options import option
from edgewise.request import Request
from edgewise.search.base import Kept, SharingSearch, at_value, refuse_edges
from edgewise.search.incremental import SearchState, sizes_of_search
from edgewise.search.state import KeepRule, Removal, State, removals_into
from edgewise.search.trace import Trace, trace_key


@final
class GreedySearch:
    """The published algorithm, on a state in which everything is kept.

    Only `candidates`, bool [writer, reader], are tested: when the turn comes to a reader, its other edges go at once.
    """

    def __init__(self, state: State, rule: KeepRule, candidates: Tensor) -> None:
        self.state, self.rule, self.candidates = state, rule, candidates
        self.graph, self.mask = state.graph, state.mask

    def run(self) -> Iterator[int]:
        """Decide about every edge; yields how many edges each step has settled."""
        yield from self._edges_into([len(self.graph.readers) - 1])
        for layer in reversed(range(self.graph.layers)):
            if self.graph.mlps:
                yield from self._mlp(layer)
            yield from self._attention(layer)

    def _mlp(self, layer: int) -> Iterator[int]:
        reader = self.graph.mlp_reader(layer)
        if self.mask[self.graph.mlp_writer(layer)].any():
            yield from self._edges_into([reader])
        else:
            yield self._drop([reader])

    def _attention(self, layer: int) -> Iterator[int]:
        """Whole v, then k, then q readers of heads that are read, then the edges into those that are left."""
        kinds = (self.graph.v_readers(layer), self.graph.k_readers(layer), self.graph.q_readers(layer))
        readers = [reader for kind in kinds for reader in reversed(range(kind.start, kind.stop))]
        serving = (self.graph.serves & self.mask.any(dim=1)).any(dim=1).tolist()
        live = [reader for reader in readers if serving[reader]]
        yield self._drop([reader for reader in readers if reader not in live])
        if self.rule.whole_readers:
            yield from self._test([Removal(reader, None) for reader in live if self.candidates[:, reader].any()])
        yield from self._edges_into([reader for reader in live if self.mask[:, reader].any()])

    def _edges_into(self, readers: Sequence[int]) -> Iterator[int]:
        yield from self._test(removals_into(self.graph, readers, self.candidates))

    def _test(self, removals: Sequence[Removal]) -> Iterator[int]:
        """Make each removal, unless it is tested and changes the metric by tau or more."""
        for removal, after in self.state.effects(removals):
            kept = removal.tested and self.rule.keeps(self.state.value, after)
            self.state.decide(removal, after, kept)
            yield 0 if kept and removal.writers is None else removal.edges(self.graph)

    def _drop(self, readers: Sequence[int]) -> int:
        edges = int(self.mask[:, readers].sum())
        self.state.drop(readers)
        return edges


@dataclass(frozen=True)
class EdgeByEdge(SharingSearch):
    """The options of a search that tests one removal after the other against a threshold."""

    tau: float = option(0.01, "an edge is kept if removing it changes the metric by at least this much", unit="metric")
    rule: Literal["signed", "absolute"] = option(
        "signed", 'whether an improvement of the metric counts as no change ("signed") or as a change ("absolute")'
    )
    whole_readers: bool = option(True, "try all edges into a q, k or v together before testing them one by one")
    trace: str | None = option(
        None, "a file that gets the decisions, one JSON object per line; an interrupted search goes on from it"
    )
    metric: ClassVar[str] = "kl"
    size_option: ClassVar[str] = "tau"
    size_values: ClassVar[tuple[float, ...]] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)

    def __post_init__(self) -> None:
        _ = self.criterion  # refuses what makes no sense

    @property
    def criterion(self) -> KeepRule:
        """When a removal is taken back."""
        return KeepRule(self.tau, self.rule, self.whole_readers)

    def for_edges(self, edges: int | None) -> Self:
        refuse_edges(self.name, edges)
        return self

    @abstractmethod
    def search(self, request: Request) -> Kept:
        """The edges that are kept, of those that it takes for candidates."""

    @abstractmethod
    def candidates(self, request: Request) -> Tensor:
        """bool [writer, reader]: the edges that are tested."""

    def sizes(self, request: Request, tiling: Tiling) -> Iterator[tuple[int, Tiling]]:
        return sizes_of_search(request, tiling)

    def rehearsal(self, request: Request) -> Callable[[], object]:
        candidates = self.candidates(request)
        return lambda: SearchState(request).rehearse(candidates)

    def found(self, state: SearchState, candidates: Tensor, key: dict[str, Any]) -> Kept:
        """What is kept of the `candidates`; `key` is what the trace is of."""
        state.start(self.criterion, Trace.open(self.trace, key))
        steps = GreedySearch(state, self.criterion, candidates).run()
        return state.run(steps, f"{self.name}, tau {self.tau:g}")


@final
@dataclass(frozen=True)
class ACDC(EdgeByEdge):
    """Remove every edge, from the output back, whose removal changes the metric by less than a threshold.

        remove e  if  metric(circuit without e) − metric(circuit) < τ        (the metric: lower is better, by default `kl`)

    An edge that goes stays gone, and the metric without it is the new baseline. Before the edges into a head's q, k or
    v are tested one by one, all of them are tried together. The larger τ, the fewer edges are kept.

    Conmy et al. 2023, "Towards Automated Circuit Discovery" (arXiv:2304.14997).
    """

    name: ClassVar[str] = "acdc"
    summary: ClassVar[str] = "every edge tested from the output back, dropped if the metric hardly moves"
    cost: ClassVar[str] = "part of a forward for each edge"
    paper: ClassVar[str] = "https://arxiv.org/abs/2304.14997"

    def candidates(self, request: Request) -> Tensor:
        return request.subject.graph.edge_mask

    def search(self, request: Request) -> Kept:
        return self._on(SearchState(request))

    def sweep(self, values: Sequence[float], request: Request) -> list[Kept]:
        """What `search` finds at each value; each has a trace of its own."""
        state = SearchState(request)
        return [search._on(state) for value in values if isinstance(search := at_value(self, value), ACDC)]

    def _on(self, state: SearchState) -> Kept:
        return self.found(state, state.graph.edge_mask, trace_key(self, state.request))
