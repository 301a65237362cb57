"""Edge Pruning: a gate for each edge, trained so that the masked model agrees with the full one at a wanted sparsity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self, final

from torch import Tensor

from edgewise.errors import InvalidValue
from edgewise.graph import Graph
from edgewise.options import option
from edgewise.pruning.base import Pruning
from edgewise.pruning.exchange import exchanges
from edgewise.pruning.fit import Problem, fit
from edgewise.pruning.gate_layout import EdgeGates, Gated
from edgewise.pruning.objective import Lagrangian
from edgewise.pruning.rounding import best_edges
from edgewise.pruning.trained_gates import TrainedGates
from edgewise.pruning.training import Training
from edgewise.request import Request
from edgewise.search.base import Kept

SPARSITY = 0.9

PRESETS = {
    "default": Training(
        steps=300,
        rate=0.2,
        multiplier_rate=1.0,
        warmup=20,
        final_rate=0.1,
        clip=1.0,
        start=2.0,
        lead=1.0,
        approach=0.5,
        settle=0.3,
        exchanges=20,
        batch=16,
    ),
    # Logits at 10 have no gradient: it is the decay that brings them down to where training begins.
    "published": Training(
        steps=3000,
        rate=0.8,
        multiplier_rate=0.8,
        warmup=200,
        final_rate=0.0,
        decay=0.01,
        clip=1.0,
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
    `gated`: "edges", or "edges+writers" for gates on writers as well; the sparsity then counts both together. The steps
    are those of a run that starts with all edges; one that starts with fewer takes proportionally fewer.
    """

    sparsity: float | None = option(
        None, "the share of all edges to remove; none: 0.9, unless a number of edges is given"
    )
    edges: int | None = option(None, "the number of edges to keep, instead of a sparsity")
    gated: Gated = option("edges", "what has gates: edges alone, or writers as well")
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
        if self.gated not in ("edges", "edges+writers"):
            raise InvalidValue(f"gated must be 'edges' or 'edges+writers', not {self.gated!r}")

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

    @final
    def prune(self, request: Request, candidates: Tensor, scores: Tensor | None = None) -> Kept:
        """Train the gates of `candidates`, bool [writer, reader]; everything else stays replaced.

        Where edges have `scores` [writer, reader], those that score higher start further open.
        """
        graph, wanted = request.subject.graph, self.wanted(request.subject.graph)
        fitted, layout, training = self.train(request, candidates, scores)
        ranked = best_edges(graph, layout.ranking(fitted.logits), wanted)
        better = exchanges(fitted, graph, ranked, training.exchanges)
        mask = [ranked, *request.track(better, training.exchanges, "exchanging edges")][-1]
        counts = {"steps": training.steps, "exchanged": int((ranked & ~mask).sum()), "final": fitted.loss(mask)}
        fitted.done()
        return Kept(mask, counts)

    @final
    def train(
        self, request: Request, candidates: Tensor, scores: Tensor | None = None
    ) -> tuple[TrainedGates, EdgeGates, Training]:
        """The trained gates, where they sit, and how they were trained; arguments as of `prune`."""
        graph, wanted = request.subject.graph, self.wanted(request.subject.graph)
        first, last = (1 - count / graph.n_edges for count in (int(candidates.sum()), wanted))
        training = self.training.shortened((last - first) / last if last else 1.0)
        layout = EdgeGates(graph, candidates, self.gated)
        penalty = Lagrangian(graph.n_edges, first, last, training.approaching)
        ahead = None if scores is None else layout.ahead(scores)
        problem = Problem(layout, penalty, training, self.seed, wanted, ahead)
        return fit(problem, request, self.files(request)), layout, training

    @final
    def for_edges(self, edges: int | None) -> Self:
        return self if edges is None else replace(self, edges=edges)


@final
@dataclass(frozen=True)
class EdgePruning(EdgeMethod):
    """Train a gate for every edge until the masked model agrees with the full one at the wanted sparsity.

        loss = KL(full ‖ masked) + λ₁ (s − t) + λ₂ (s − t)²,   gates hard concrete, λ trained by gradient ascent

    s is the sparsity of the gates and t the target, which rises during training. KL is taken at the answer position. At
    the end all edges are ranked by their gates, and the circuit has exactly the number of edges asked for.

    The preset "published" has the numbers of the paper, with the weight decay that brings gates down from where they
    start and bounds λ. The default starts where gates have a gradient, uses no decay and a tenth of the steps, and lets
    gates settle: towards the end fewer and fewer of the best-ranked edges may open, so that these learn to do without
    the others. Then single edges are exchanged for others as long as that is measured to help; neither the published
    code nor "published" does this. Under both presets, unlike in the published code, an edge counts together with the
    gate of its writer, and edges are ranked all together instead of tensor by tensor.

    Bhaskar, Wettig, Friedman, Chen 2024, "Finding Transformer Circuits with Edge Pruning" (arXiv:2406.16778).
    """

    name: ClassVar[str] = "edge-pruning"
    summary: ClassVar[str] = "a trained gate for each edge, up to the wanted sparsity"
    cost: ClassVar[str] = "a forward and a backward for each of some hundred steps"
    paper: ClassVar[str] = "https://arxiv.org/abs/2406.16778"

    def rehearsal(self, request: Request) -> Callable[[], object]:
        return lambda: replace(self, steps=1).train(self.batched(request), request.subject.graph.edge_mask)

    def search(self, request: Request) -> Kept:
        request = self.batched(request)
        self.wanted(request.subject.graph)
        return self.prune(request, request.subject.graph.edge_mask)
