"""EAP with integrated gradients along activations: one sublayer's output after the other is led from replaced to clean.

    score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · mean over sublayers, points of gradient_r

The sublayers are the input, the heads of each layer together, and each MLP. While one of them is held at
replaced + k/m · (clean − replaced), k = 1 … m, what comes before it is clean and what comes after follows; every such run
counts for every edge. It differs from EAP-IG in that the bend along each sublayer's own output is seen, at a far higher
price; and in that no gradient passes what is held, so the edges before it count for less, even where all is linear.

Hanna, Pezzelle, Belinkov 2024 (arXiv:2403.17806); as in their library and the MIB benchmark (arXiv:2504.13151).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from edgewise.attribution.base import needs_slope, needs_slope_at_clean
from edgewise.attribution.paths import PathMethod
from edgewise.attribution.points import AtHeads, AtInput, AtMLP, PathPoint, shares
from edgewise.metrics import Metric
from edgewise.models.subject import Subject
from edgewise.options import option


@final
@dataclass(frozen=True)
class EAPIGActivations(PathMethod):
    """EAP averaged over runs in which one sublayer's output lies between replaced and clean, `steps` for each."""

    steps: int = option(5, "how many runs between replaced and clean each sublayer takes")
    name: ClassVar[str] = "eap-ig-activations"
    summary: ClassVar[str] = "gradients averaged along the output of one sublayer after the other"
    cost: ClassVar[str] = "1 forward + steps × (2 × layers + 1) × (forward + backward)"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.17806"

    def __post_init__(self) -> None:
        shares(self.steps, "right")

    def check(self, metric: Metric) -> None:
        if self.steps == 1:
            needs_slope_at_clean(self.name, metric)
        needs_slope(self.name, metric)

    def path(self, subject: Subject) -> list[PathPoint]:
        graph, places = subject.graph, shares(self.steps, "right")
        weight = 1 / (self.steps * (1 + graph.layers * (1 + graph.mlps)))
        points: list[PathPoint] = [AtInput(share, weight) for share in reversed(places)]
        for layer in range(graph.layers):
            points += [AtHeads(share, weight, layer) for share in places]
            points += [AtMLP(share, weight, layer) for share in places if graph.mlps]
        return points
