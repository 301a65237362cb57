"""EAP with integrated gradients along activations: one sublayer's output after the other is led from replaced to clean."""

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
    """EAP with the gradient averaged along the output of each sublayer in turn.

        score(w → r) = Σ over examples, positions, d_model of (clean_w − replaced_w) · mean over sublayers, points of g_r

    g_r is ∂metric/∂(input of r). The sublayers are the input, the heads of each layer together, and each MLP. One of
    them is held at replaced + k/m · (clean − replaced), for k = 1 … m; everything before it is clean and everything
    after it follows. Every such run counts for every edge. This sees how the metric bends along each sublayer's own
    output, at a much higher price than `eap-ig`. No gradient passes the sublayer that is held, so edges before it count
    for less, even in a linear model.

    Hanna, Pezzelle, Belinkov 2024 (arXiv:2403.17806), as in their library and the MIB benchmark (arXiv:2504.13151).
    """

    steps: int = option(5, "the number of runs between replaced and clean for each sublayer")
    name: ClassVar[str] = "eap-ig-activations"
    summary: ClassVar[str] = "gradients averaged along each sublayer's output in turn"
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
