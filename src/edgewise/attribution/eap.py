"""Edge Attribution Patching: a linear approximation of replacing each edge alone.

    score(w → r) = Σ over examples, positions, d_model of (clean_w − replacement_w) · ∂metric/∂(input of r) at the clean run

Syed, Rager, Conmy 2023, "Attribution Patching Outperforms Automated Circuit Discovery" (who plot the opposite sign).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from edgewise.attribution.base import GradientMethod, Step, needs_slope_at_clean
from edgewise.attribution.contraction import contract
from edgewise.engine.record import record_gradients
from edgewise.metrics import Metric


@final
@dataclass(frozen=True)
class EAP(GradientMethod):
    """Gradient at the clean run times the difference of the writers: all edges from two forwards and one backward."""

    name: ClassVar[str] = "eap"
    summary: ClassVar[str] = "linear approximation at the clean run"
    cost: ClassVar[str] = "2 forward + 1 backward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.10348"

    def check(self, metric: Metric) -> None:
        needs_slope_at_clean(self.name, metric)

    def batch_scores(self, step: Step) -> Tensor:
        subject, batch = step.subject, step.batch
        recording, gradients = record_gradients(
            subject, batch.clean, batch.positions, lambda logits: step.objective(logits, logits.detach()).sum()
        )
        deltas = recording.writes.minus(step.replacement.writes, subject.work_dtype)
        return contract(subject, deltas, recording, gradients)
