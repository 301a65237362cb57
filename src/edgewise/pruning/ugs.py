"""Uniform gradient sampling: every edge is scored by the probability with which training keeps it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution.base import ScoringMethod
from edgewise.errors import InvalidValue, NothingScored
from edgewise.graph import Graph
from edgewise.metrics import metric
from edgewise.options import option
from edgewise.pruning.base import Trained
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.fit import fit
from edgewise.pruning.gate_layout import EdgeGates
from edgewise.pruning.gates import Uniform
from edgewise.pruning.objective import ExpectedEdges
from edgewise.pruning.optimization import Problem
from edgewise.pruning.training import Adam, Training
from edgewise.request import Request

# The surcharge for edges of heads is half the price of an edge, and at most this.
HIGHEST_HEAD_PRICE = 2e-4

UGS_UPDATE = Adam(clip=5.0, second=0.995)


@final
@dataclass(frozen=True)
class UGS(Trained, ScoringMethod):
    """Train a probability of being kept for every edge, with a mask of its own for every example.

        score(e) = p_e = sigmoid(θ_e),   θ trained to minimise   E[loss(masked run)] + λ Σ p_e + ν Σ_h n/2 · tanh(2 S_h / n)

    A mask is drawn edge by edge: 1, 0, or, with probability p (1 − p), uniform between. ∫₀¹ ∂loss/∂mask dmask is what
    closing an edge costs, so the slopes at the uniform samples alone estimate ∂E[loss]/∂p without bias. λ is what an
    edge must save, in units of the loss, to stay. ν = min(λ/2, 2e-4) is a surcharge for the n edges of head h, whose
    probabilities sum to S_h. Scores lie between 0 and 1 and have no sign.

    The preset "published" is MIB's run: 5 pairs a step, each under 12 masks, λ = 1e-3, a learning rate of 0.01 (theirs
    is 0.02 for λ ≤ 5e-4 and 0.03 for λ ≤ 1e-4). It differs from their code in four ways: the gradient is clipped as a
    whole, not tensor by tensor; the first token of a prompt is replaced like every other; a q, k or v shared by several
    heads is one reader; and an edge that is not kept carries what the ablation says, not constants trained along with
    the edges (optimal ablation).

    Li, Janson 2024, "Optimal ablation for interpretability" (arXiv:2409.09951), a baseline of MIB.
    """

    regularization: float = option(1e-3, "the price of an edge: the larger, the fewer are kept", unit="loss")
    loss: str = option("kl", "the metric that training preserves, whatever the metric of the run is")
    samples: int | None = option(None, "the number of masks for each pair of a batch, instead of the preset's")
    name: ClassVar[str] = "ugs"
    summary: ClassVar[str] = "a trained probability of being kept for each edge, with a mask for each example"
    cost: ClassVar[str] = "2 forward + a masked forward and backward for each of some hundred steps"
    paper: ClassVar[str] = "https://arxiv.org/abs/2409.09951"
    additive: ClassVar[bool] = False
    presets: ClassVar[dict[str, Training]] = {
        "default": Training(steps=300, rate=0.1, start=1.0, batch=16, gates=Uniform(), update=UGS_UPDATE),
        "published": Training(
            steps=3000, rate=0.01, start=1.0, batch=5, samples=12, gates=Uniform(), update=UGS_UPDATE
        ),
    }

    def check(self) -> None:
        price = self.regularization
        if not isinstance(price, int | float) or not 0 <= price < math.inf:
            raise InvalidValue(f"regularization={price!r} must be a number of at least 0")
        metric(self.loss)

    def rehearsal(self, request: Request) -> Callable[[], object]:
        return lambda: replace(self, steps=1).scores(request)

    def scores(self, request: Request) -> Tensor:
        request.notes["metric"] = metric(self.loss).name
        request = replace(self.batched(request), metric=metric(self.loss))
        layout = EdgeGates(request.subject.graph, request.subject.graph.edge_mask)
        prices = self.regularization, min(self.regularization / 2, HIGHEST_HEAD_PRICE)
        problem = Problem(layout, ExpectedEdges(layout, *prices), self.training, self.seed)
        fitted = fit(problem, BatchCache(request), self.files(request))
        kept = layout.mask(fitted.logits.double().sigmoid()).cpu()
        fitted.done()
        if _unseen(layout.graph, kept):
            raise NothingScored(
                f"training saw nothing but the price of edges: the gradient of {self.loss} vanishes on these pairs, or clean "
                "and corrupted prompts are the same; choose another loss or other pairs"
            )
        return kept


def _unseen(graph: Graph, kept: Tensor) -> bool:
    """Whether no edge had a slope: k and v of a head cost the same, so that only slopes can tell them apart."""
    layers = ((graph.k_readers(layer), graph.v_readers(layer)) for layer in range(graph.layers))
    return all(torch.equal(kept[:, keys], kept[:, values]) for keys, values in layers)
