"""HAP: attribution proposes a generous subgraph, pruning finds the circuit in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution import attribution as find_attribution
from edgewise.attribution.memory import within_memory
from edgewise.errors import InvalidValue, UnknownName
from edgewise.metrics import Metric
from edgewise.metrics import metric as find_metric
from edgewise.options import option
from edgewise.pairs import NO_ANSWER
from edgewise.pruning.edge_pruning import LEAST_ROOM, EdgeMethod
from edgewise.pruning.ladder import Proposal
from edgewise.pruning.rounding import best_edges
from edgewise.request import Request, Wanted
from edgewise.search import SEARCHES
from edgewise.search.acdc import EdgeByEdge

# The smallest share proposed by default. On nano, ioi, the best circuits found by edge pruning with all edges lie within the
# 47 best (10 %) by eap-ig, 49 by mask-ig, 66 by relp, 222 (46 %) by eap.
KEEP = 0.15
# Who proposes by default.
ATTRIBUTION = "eap-ig"
# The searches whose circuits may be a start.
STARTS = [name for name, search in SEARCHES.items() if issubclass(search, EdgeByEdge)]
# What attribution scores by where pruning's own metric is flat at the clean run, as KL is.
WITH_WRONG, WITHOUT_WRONG = "logit_diff", "nll"


@final
@dataclass(frozen=True)
class HAP(EdgeMethod):
    """Let attribution propose a generous subgraph, then find the circuit in it by edge pruning.

        candidates = the best share `keep` of all edges by |score|,        then `edge-pruning` of these alone

    All other edges stay replaced for good. This is cheaper twice over: what no candidate reaches is never computed, and
    the target sparsity starts where the first stage ended, so that fewer steps are needed (at least a third). With
    `keep` 1 it is `edge-pruning`. Unlike as published, edges are scored by `eap-ig` instead of `eap`: what pruning
    finds lies within far fewer of its best edges. Under the default preset, the gates of edges with higher scores start
    further open, and those of the circuit of a search, if one is named by `start`, further than all others.

    Gu et al. 2025, "Discovering Transformer Circuits via a Hybrid Attribution and Pruning Framework"
    (arXiv:2510.03282).
    """

    keep: float | None = option(None, "the share of all edges to propose; none: 0.15, or twice what the circuit keeps")
    attribution: str | None = option(None, "the method that scores the edges to propose; none: eap-ig")
    attribution_metric: str | None = option(
        None, "the metric that scores them; none: the run's own, or logit_diff or nll where that is flat"
    )
    start: str | None = option(None, "a search, such as acdc, whose circuit starts furthest open; none: no search")
    start_tau: float | None = option(None, "the threshold of that search; none: its default", unit="metric")
    name: ClassVar[str] = "hap"
    summary: ClassVar[str] = "edge pruning of what attribution proposes"
    cost: ClassVar[str] = "attribution, then a part of edge pruning"
    paper: ClassVar[str] = "https://arxiv.org/abs/2510.03282"

    def check(self) -> None:
        super().check()
        if self.keep is not None and not (isinstance(self.keep, int | float) and 0 < self.keep <= 1):
            raise InvalidValue(f"keep={self.keep!r} must be above 0 and at most 1: it is a share of all edges")
        if self.attribution is not None:
            find_attribution(self.attribution)
        if self.attribution_metric is not None:
            find_metric(self.attribution_metric)
        if self.start is not None:
            _ = self._search
        elif self.start_tau is not None:
            raise InvalidValue(
                "start_tau is the threshold of a search to start from; name it with start, such as start=acdc"
            )
        if self.sparsity is not None and self.keep is not None and self.keep + self.sparsity < 1 - 1e-9:
            raise InvalidValue(
                f"keep={self.keep:g} proposes fewer edges than a sparsity of {self.sparsity:g} keeps; raise keep"
            )

    def propose(self, request: Request, widest: int) -> Proposal:
        graph = request.subject.graph
        keep = self.keep or min(1.0, max(KEEP, LEAST_ROOM * widest / graph.n_edges))
        proposed = round(keep * graph.n_edges)
        if proposed < widest:
            raise InvalidValue(
                f"keep={keep:g} proposes {proposed:,} of {graph.n_edges:,} edges, fewer than the {widest:,} asked for: "
                "raise keep"
            )
        if proposed == graph.n_edges and self.start is None:
            return Proposal(graph.edge_mask, counts={"candidates": proposed})
        scored = replace(request, metric=self._scored_by(request))
        attribution = find_attribution(self.attribution or ATTRIBUTION)().resolved(scored)
        with within_memory(attribution, scored) as fitting:
            scores = attribution.scores(fitting).abs()
        counts = {"candidates": proposed, "proposed_by": find_attribution(self.attribution or ATTRIBUTION).name}
        if self.start is not None:
            started = self._started(request)
            # Above all others, and among each other in the order of their scores.
            scores = scores + started.to(scores) * (scores.max() + 1)
            counts["started_from"] = int(started.sum())
        # A circuit of one edge has that from an input to the logits, whatever it scores.
        ranking = scores.clone()
        ranking[: len(graph.inputs), -1] = torch.inf
        return Proposal(best_edges(graph, ranking, proposed), scores, counts)

    def _started(self, request: Request) -> Tensor:
        """What the search to start from keeps, bool [writer, reader], within the memory that the request allows."""
        alone = replace(request, wanted=Wanted(memory_limit=request.wanted.memory_limit))
        with within_memory(self._search, alone) as fitting:
            return self._search.search(fitting).mask

    @property
    def _search(self) -> EdgeByEdge:
        """The search to start from."""
        chosen = SEARCHES.get(str(self.start))
        if chosen is None or not issubclass(chosen, EdgeByEdge):
            raise UnknownName.of("search to start from", self.start, STARTS)
        return chosen() if self.start_tau is None else chosen(tau=self.start_tau)

    def _scored_by(self, request: Request) -> Metric:
        if self.attribution_metric is not None:
            return find_metric(self.attribution_metric)
        if not request.metric.flat_at_clean:
            return request.metric
        wrong = bool((request.pairs.wrong != NO_ANSWER).any(dim=1).all())
        return find_metric(WITH_WRONG if wrong else WITHOUT_WRONG)
