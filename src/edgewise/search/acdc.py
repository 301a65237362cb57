"""ACDC: removes every edge, from the output back, whose removal changes the metric by less than a threshold.

    remove e  if  metric(circuit without e) − metric(circuit) < τ        (metric: lower is better, KL to the clean model)

Conmy et al. 2023, "Towards Automated Circuit Discovery". An edge that goes stays gone and its metric is the new baseline.
Before the edges into a head's q, k and v, all of them together are tried ("whole readers"). The result is that of testing
one edge at a time: removals are tried on the batch axis, each on top of what is expected of those before it, and count up to
the first that turns out otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from edgewise.request import Request
from edgewise.search.base import Kept, SharingSearch, dialled, refuse_edges
from edgewise.search.hunt import Ground, Rule
from edgewise.search.trace import Trace


@final
@dataclass(frozen=True)
class ACDC(SharingSearch):
    """Greedy removal, edge by edge. `tau`: the threshold; `rule`: whether an improvement counts as change ("absolute").

    `whole_readers`: try all edges into a q, k or v together first. `trace`: a file for the decisions, one JSON object a
    line, written as they are made; if it exists, an interrupted search goes on from it. In a sweep each value has one.
    """

    tau: float = 0.01
    rule: Literal["signed", "absolute"] = "signed"
    whole_readers: bool = True
    trace: str | None = None
    name: ClassVar[str] = "acdc"
    summary: ClassVar[str] = "every edge tested from the output back, dropped if the metric hardly moves"
    cost: ClassVar[str] = "part of a forward for each edge"
    paper: ClassVar[str] = "https://arxiv.org/abs/2304.14997"
    metric: ClassVar[str] = "kl"
    dial: ClassVar[str] = "tau"
    dial_values: ClassVar[tuple[float, ...]] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)

    def __post_init__(self) -> None:
        _ = self.criterion  # refuses what makes no sense

    @property
    def criterion(self) -> Rule:
        """When a removal is taken back."""
        return Rule(self.tau, self.rule, self.whole_readers)

    def for_edges(self, edges: int | None) -> ACDC:
        refuse_edges(self.name, edges)
        return self

    def search(self, request: Request) -> Kept:
        return self._hunt(Ground(request))

    def sweep(self, values: Sequence[float], request: Request) -> list[Kept]:
        ground = Ground(request)
        return [one._hunt(ground) for value in values if isinstance(one := dialled(self, value), ACDC)]

    def _hunt(self, ground: Ground) -> Kept:
        trace = Trace.open(Path(self.trace) if self.trace else None, self._key(ground.request))
        return ground.hunt(self.criterion, ground.front.graph.edge_mask, trace, f"{self.name}, tau {self.tau:g}")

    def _key(self, request: Request) -> dict[str, Any]:
        options = {name: repr(value) for name, value in asdict(self).items() if name != "trace"}
        return {"edgewise": self.name, "options": options, **request.key}
