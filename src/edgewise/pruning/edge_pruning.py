"""Edge Pruning: a gate for each edge, trained so that the masked model agrees with the full one at a wanted sparsity."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar, Self, final, get_args

from edgewise.circuit import Circuit
from edgewise.errors import InvalidValue
from edgewise.graph import Graph
from edgewise.options import option
from edgewise.pruning.base import Pruning
from edgewise.pruning.coarse import Coarse
from edgewise.pruning.gate_layout import EdgeGates, Gated
from edgewise.pruning.gates import StraightThrough
from edgewise.pruning.ladder import Data, Proposal, Rung, descend
from edgewise.pruning.objective import FallingCount
from edgewise.pruning.training import Adam, PartialAdam, Training
from edgewise.request import Request, Wanted
from edgewise.search.base import Kept, circuit_of

SPARSITY = 0.9
# The levels of gates that close before those of edges.
COARSE = {"edges+nodes": ("nodes",), "edges+nodes+blocks": ("blocks", "nodes")}
GATES_ON = get_args(Gated)
# How many times as many edges as the circuit has are left to choose from, at the least.
LEAST_ROOM = 2
# On how many pairs, the first that gates are trained on, edges are proposed.
PROPOSED_ON = 64

PRESETS = {
    "default": Training(
        steps=600,
        rate=0.1,
        final_rate=0.1,
        start=0.0,
        spread=0.01,
        lead=1.0,
        approach=0.4,
        compared=6,
        batch=4,
        gates=StraightThrough(),
        led_by=FallingCount,
        update=PartialAdam(),
    ),
    # Logits at 10 have no gradient: it is the decay that brings them down to where training begins.
    "published": Training(
        steps=3000,
        rate=0.8,
        multiplier_rate=0.8,
        warmup=200,
        final_rate=0.0,
        update=Adam(decay=0.01, clip=1.0),
        start=10.0,
        spread=0.01,
        approach=2500 / 3000,
        batch=32,
    ),
}


@dataclass(frozen=True)
class EdgeMethod(Pruning):
    """What methods that train gates of edges share: they keep a given share, or number, of the edges.

    `sparsity`: the share of all edges that is removed, between 0 and 1.
    `edges`: the number of edges to keep, instead of a sparsity.
    `gated`: "edges"; "edges+writers" for gates on writers as well, which an edge passes too; "edges+nodes" for gates of whole
    heads and MLPs that close first, so that only edges between those left open get gates; "edges+nodes+blocks" for gates
    of whole layers of heads, and of MLPs, before these. The steps are those of a run that starts with all edges; one that
    starts with fewer takes proportionally fewer, at least a third.
    """

    sparsity: float | None = option(
        None, "the share of all edges to remove; none: 0.9, unless a number of edges is given"
    )
    edges: int | None = option(None, "the number of edges to keep, instead of a sparsity")
    gated: Gated = option("edges", f"what has gates: {', '.join(GATES_ON)}")
    size_option: ClassVar[str] = "sparsity"
    size_values: ClassVar[tuple[float, ...]] = (0.99, 0.98, 0.97, 0.95, 0.93, 0.9, 0.85, 0.8, 0.7, 0.5)
    presets: ClassVar[dict[str, Training]] = PRESETS

    def check(self) -> None:
        if self.sparsity is not None and not (isinstance(self.sparsity, int | float) and 0 < self.sparsity < 1):
            raise InvalidValue(f"sparsity={self.sparsity!r} must lie between 0 and 1, for example 0.95")
        if self.edges is not None and (not isinstance(self.edges, int) or self.edges < 1):
            raise InvalidValue(f"edges={self.edges!r} must be at least 1: a path from input to logits needs one")
        if self.edges is not None and self.sparsity is not None:
            raise InvalidValue(f"give {self.name} a number of edges or a sparsity, not both")
        if COARSE.get(self.gated) and not isinstance(self.presets[self.preset].gates, StraightThrough):
            raise InvalidValue(
                f"gated={self.gated} needs the preset default: gates of the preset {self.preset} are drawn"
            )

    @final
    def wanted(self, graph: Graph) -> int:
        """How many edges the circuit has."""
        if self.edges is not None:
            wanted = self.edges
        else:
            wanted = round((1 - (SPARSITY if self.sparsity is None else self.sparsity)) * graph.n_edges)
        if not 1 <= wanted <= graph.n_edges:
            raise InvalidValue(
                f"{wanted:,} of {graph.n_edges:,} edges: a path from input to logits needs at least one; lower the sparsity"
            )
        return wanted

    @abstractmethod
    def propose(self, request: Request, widest: int) -> Proposal:
        """The edges that gates are trained of, at least `widest`; everything else stays replaced."""

    @final
    def divides(self, wanted: Wanted) -> bool:
        """Never: sizes come out of one training, one after the other, and ranks share its pairs."""
        return False

    @final
    def search(self, request: Request) -> Kept:
        return self.descend([self], request)[0]

    @final
    def searches(self, variants: Sequence[Self], request: Request) -> list[Circuit]:
        kept = self.descend(variants, request)
        return [
            circuit_of(one, request, found, found.seconds or 0.0) for one, found in zip(variants, kept, strict=True)
        ]

    @final
    def descend(self, variants: Sequence[Self], request: Request) -> list[Kept]:
        """What is kept by some variants of this method, which differ in how many edges they keep."""
        return self.proposed(request, variants)(variants)

    @final
    def rehearsal(self, request: Request) -> Callable[[], object]:
        descend = self.proposed(request, [self])
        return lambda: descend([replace(self, steps=1)])

    @final
    def proposed(self, request: Request, variants: Sequence[Self]) -> Callable[[Sequence[Self]], list[Kept]]:
        """A function that trains variants, none larger than these, of what is proposed for these."""
        asked, request, graph = request, self.batched(request), request.subject.graph
        widest = max(variant.wanted(graph) for variant in variants)
        data = Data.of(request, asked.batch_size if self.training.compared else 0)
        first = request.pairs[data.train.rows[:PROPOSED_ON]]
        started = time.perf_counter()
        proposal = self.propose(replace(asked, pairs=first, ablation=request.ablation.over_all(request.pairs)), widest)
        proposal = replace(proposal, seconds=time.perf_counter() - started)

        def descended(variants: Sequence[Self]) -> list[Kept]:
            rungs = [Rung(one.wanted(graph), one.training, one.seed, one.files(request)) for one in variants]
            with self._closed_nodes(proposal, graph, max(rungs, key=lambda rung: rung.edges), data) as narrowed:
                gated: Gated = "edges+writers" if self.gated == "edges+writers" else "edges"
                return descend(narrowed, EdgeGates(graph, narrowed.candidates, gated), rungs, data)

        return descended

    @contextmanager
    def _closed_nodes(self, proposal: Proposal, graph: Graph, widest: Rung, data: Data) -> Iterator[Proposal]:
        """The proposal without edges of nodes that gates of their own have closed; what these kept goes at the end."""
        levels = COARSE.get(self.gated)
        if not levels:
            yield proposal
            return
        started, count = time.perf_counter(), int(proposal.candidates.sum())
        training = widest.training.shortened(count / graph.n_edges)
        coarse = Coarse(levels, training, widest.seed, widest.files)
        left, done = coarse.close(graph, proposal.candidates, min(count, LEAST_ROOM * widest.edges), data.train)
        counts = {**proposal.counts, "between_open_nodes": int(left.sum())}
        yield replace(proposal, candidates=left, counts=counts, training_seconds=time.perf_counter() - started)
        for gates in done:
            gates.done()

    @final
    def for_edges(self, edges: int | None) -> Self:
        return self if edges is None else replace(self, edges=edges)


@final
@dataclass(frozen=True)
class EdgePruning(EdgeMethod):
    """Train a gate for every edge until the masked model agrees with the full one at the wanted sparsity.

        loss = KL(full ‖ masked),   the n_t best-ranked edges open, n_t falling from all edges to the wanted number

    KL is taken at the answer position. By default gates are straight-through: a step runs the circuit of the edges whose
    logits are highest, and the gradient of the loss in the mask moves the logits of all edges, closed ones too. n_t falls
    by the same factor in each step. A quarter of the pairs, where there are 32 or more, is not trained on: the best of
    the circuits of the last steps there is kept. Several sizes come out of one run, each begun with the gates of the
    next larger.

    The preset "published" has the gates and the numbers of the paper: hard concrete gates, drawn anew in each step, and
    λ₁ (s − t) + λ₂ (s − t)² added to the loss, s being the sparsity, t its target, λ trained by gradient ascent; with the
    weight decay that brings gates down from where they start and bounds λ. Unlike in the published code, an edge counts
    together with the gate of its writer, and edges are ranked all together instead of tensor by tensor.

    Bhaskar, Wettig, Friedman, Chen 2024, "Finding Transformer Circuits with Edge Pruning" (arXiv:2406.16778).
    """

    name: ClassVar[str] = "edge-pruning"
    summary: ClassVar[str] = "a trained gate for each edge, up to the wanted sparsity"
    cost: ClassVar[str] = "a forward and a backward for each of some hundred steps"
    paper: ClassVar[str] = "https://arxiv.org/abs/2406.16778"

    def propose(self, request: Request, widest: int) -> Proposal:
        return Proposal(request.subject.graph.edge_mask)
