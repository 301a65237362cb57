"""Integrated gradients along the mask: the edges themselves are led from replaced to clean, all together.

    score(e) = ∫ ∂metric/∂mask_e at mask = α on every edge, dα from 0 to 1

The only path on which the scores of all edges sum to metric(clean) − metric(replaced): nothing is counted twice and nothing
is left over (completeness; Sundararajan, Taly, Yan 2017, arXiv:1703.01365). EAP is its integrand at α = 1. It takes any
ablation, for the mask knows both ends; and it needs the masked forward run, which costs more than a native one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from edgewise.attribution.base import Batch, GradientMethod, needs_slope
from edgewise.attribution.points import check_steps
from edgewise.engine.forward import masked_forward
from edgewise.engine.writer_buffer import Workspace
from edgewise.metrics import Metric
from edgewise.options import option


@final
@dataclass(frozen=True)
class MaskIG(GradientMethod):
    """Integrates the gradient with respect to the mask along α · 1, by Gauss and Legendre's rule with `steps` points.

    As `steps` grows, the sum of all scores tends to the metric's whole drop from clean to replaced. With zero ablation the
    path starts in the singular point of the norms and needs many steps.
    """

    steps: int = option(5, "at how many points of the mask's path gradients are taken")
    name: ClassVar[str] = "mask-ig"
    summary: ClassVar[str] = "gradients integrated along the mask: scores sum to the whole effect"
    cost: ClassVar[str] = "2 forward + steps × (masked forward + backward)"
    paper: ClassVar[str] = "https://arxiv.org/abs/1703.01365"

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def check(self, metric: Metric) -> None:
        needs_slope(self.name, metric)

    def batch_scores(self, batch: Batch) -> Tensor:
        subject, pairs, space = batch.subject, batch.pairs, Workspace()
        with torch.no_grad():
            clean = subject.logits(pairs.clean, pairs.positions)
        edges = subject.graph.edge_mask.to(subject.device, subject.work_dtype)
        total = torch.zeros_like(edges)
        for place, weight in _gauss_legendre(self.steps):
            mask = (place * edges).requires_grad_()
            with torch.enable_grad():
                logits = masked_forward(subject, pairs.clean, pairs.positions, mask, batch.replacement, workspace=space)
                value = batch.objective(logits, clean).sum()
            total += weight * torch.autograd.grad(value, mask)[0]
        return total


def _gauss_legendre(steps: int) -> Iterator[tuple[float, float]]:
    """Places in [0, 1] and their weights, which sum to 1.

    >>> [(round(place, 4), round(weight, 4)) for place, weight in _gauss_legendre(2)]
    [(0.2113, 0.5), (0.7887, 0.5)]
    """
    places, weights = np.polynomial.legendre.leggauss(steps)
    yield from zip(((places + 1) / 2).tolist(), (weights / 2).tolist(), strict=True)
