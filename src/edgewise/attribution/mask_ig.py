"""Integrated gradients along the mask: all edges are led from replaced to clean together."""

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
    """Integrate the gradient with respect to the mask while all edges go from replaced to clean together.

        score(e) = ∫ ∂metric/∂mask_e at mask = α on every edge, dα from 0 to 1

    The integral is taken by Gauss-Legendre quadrature. On this path alone the scores of all edges add up to the whole
    effect, metric(clean) − metric(replaced): nothing is counted twice and nothing is left over. `eap` is the integrand
    at α = 1. It needs masked forward passes, which cost more than native ones. Under `zero` the path starts at a point
    where norms are singular, and needs many steps.

    Sundararajan, Taly, Yan 2017, "Axiomatic Attribution for Deep Networks" (arXiv:1703.01365), whose completeness this
    is.
    """

    steps: int = option(5, "the number of points on the path where gradients are taken")
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
