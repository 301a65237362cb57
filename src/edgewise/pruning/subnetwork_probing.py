"""Subnetwork probing: a gate for each q, k, v and MLP, trained to keep the behaviour while every open gate costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from edgewise.engine.workspace import Workspace
from edgewise.errors import InvalidValue
from edgewise.options import option
from edgewise.pruning.base import Pruning
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.fit import fit
from edgewise.pruning.gate_layout import NodeGates
from edgewise.pruning.gates import HardConcrete
from edgewise.pruning.objective import Price
from edgewise.pruning.optimization import Problem
from edgewise.pruning.training import Training
from edgewise.request import Request
from edgewise.search.base import Kept, refuse_edges

GATES = HardConcrete(edge=1e-4)
ALL = 1 << 30  # pairs in a batch
# 0.9 of a gate: where the published code starts.
START_LOGIT = GATES.logit(0.9)


@final
@dataclass(frozen=True)
class SubnetworkProbing(Pruning):
    """Train a gate for each q, k, v and MLP, to keep the behaviour while every open gate costs.

        loss = metric(masked run) + λ · mean openness,   gates hard concrete, a node kept if its logit is at least 0

    The mean openness is that of the layers' own means, over the q, k and v of each layer and over its MLP. An edge is
    kept if its writer and its reader are; a head writes if its q, k or v is kept. The larger λ, the fewer edges are
    kept.

    This differs from the published code in three ways. A q, k or v gate mixes what the head reads, not the vector
    computed from it, which is the same where the gate is 0 or 1. The circuit is read off the trained logits, without
    drawing gates once more. An MLP that is masked loses all its edges, not only those into it.

    Cao, Sanh, Rush 2021, "Low-Complexity Probing via Finding Subnetworks" (arXiv:2104.03514), as Conmy et al. 2023 use
    it for circuits.
    """

    regularization: float = option(
        1.0, "the price of an open gate: the larger, the fewer edges are kept", unit="metric"
    )
    name: ClassVar[str] = "subnetwork-probing"
    summary: ClassVar[str] = "a trained gate for each q, k, v and MLP; edges between what stays open"
    cost: ClassVar[str] = "a forward and a backward for each of some hundred steps"
    paper: ClassVar[str] = "https://arxiv.org/abs/2104.03514"
    size_option: ClassVar[str] = "regularization"
    size_values: ClassVar[tuple[float, ...]] = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
    presets: ClassVar[dict[str, Training]] = {
        "default": Training(steps=200, rate=0.2, start=START_LOGIT, gates=GATES),
        "published": Training(steps=10_000, rate=1e-3, start=START_LOGIT, batch=ALL, gates=GATES),
    }

    def check(self) -> None:
        price = self.regularization
        if not isinstance(price, int | float) or not 0 <= price < math.inf:
            raise InvalidValue(f"regularization={price!r} must be a number of at least 0")

    def for_edges(self, edges: int | None) -> SubnetworkProbing:
        refuse_edges(self.name, edges)
        return self

    def search(self, request: Request) -> Kept:
        request = self.batched(request)
        layout = NodeGates(request.subject.graph)
        price = Price(self.regularization, layout.weights, GATES)
        feed = BatchCache(request)
        fitted = fit(Problem(layout, price, self.training, self.seed), feed, self.files(request))
        mask = layout.edges(fitted.logits >= 0)
        found = Kept(mask, {"steps": self.training.steps, "final": feed.loss(mask, Workspace())})
        fitted.done()
        return found
