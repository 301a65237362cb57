"""Random scores: the baseline every circuit should beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution.base import Request, ScoringMethod
from edgewise.options import option


@final
@dataclass(frozen=True)
class Random(ScoringMethod):
    """Score every edge by an independent normal number: the baseline every method should beat.

        score(e) ~ N(0, 1)

    Neither the model nor the prompts enter.
    """

    seed: int = option(0, "the seed of the random scores")
    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "random scores, a baseline"
    replaces: ClassVar[bool] = False
    cost: ClassVar[str] = "nothing"

    def scores(self, request: Request) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(request.subject.graph.edge_mask.shape, generator=generator)
