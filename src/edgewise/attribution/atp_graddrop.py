"""EAP with the gradient through one layer after the other dropped: effects that cancel are seen all the same.

    |score(w → r)| = Σ over examples of 1/(L−1) · Σ over layers ℓ of |I_ℓ(w → r)|, divided by the number of examples
    I_ℓ(w → r) = Σ over positions, d_model of (clean_w − replaced_w) · gradient_r(ℓ)

with gradient_r(ℓ) the gradient of the metric at the clean run at the input of r, where what layer ℓ writes, its heads and
its MLP, is held: no gradient passes it. A reader's effect may reach the metric twice, directly and through a later layer that
undoes it. In EAP the two add up to next to nothing, and a small error in either is all of the score; where the layer that
undoes it is dropped, the other is left.

Kramár, Lieberum, Shah, Nanda 2024, "AtP*" (arXiv:2403.00745), whose GradDrop this is, for edges in the place of nodes; its
other part, which takes queries and keys exactly, is `atp-qk`. Without its own layer a reader has no gradient, hence L − 1.
Behind `logits` there is no layer, so there the mean is over all L, each the absolute value of EAP's. With one layer nothing
is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution.base import ScoringMethod, needs_slope_at_clean, refuse_zeros
from edgewise.attribution.contraction import contract_each
from edgewise.attribution.fitting import fitting_parts
from edgewise.attribution.memory import MemoryNeed
from edgewise.attribution.reader_gradients import ReaderGradients
from edgewise.engine.gradients import RunHooks, live_run
from edgewise.engine.record import Recorder
from edgewise.engine.rules import BackwardRule, DroppedLayer
from edgewise.graph import Graph
from edgewise.models.subject import Subject
from edgewise.ranks import current
from edgewise.request import Batch, Request


@final
@dataclass(frozen=True)
class AtPGradDrop(ScoringMethod):
    """The mean absolute score of EAP over backward passes that each leave one layer out.

    A mean of absolute values has no sign. The score is given that of the sum of the I_ℓ over layers and examples: positive
    where what is left when layers are left out helps on the whole. Scores are no predicted drop of the metric.
    """

    name: ClassVar[str] = "atp-graddrop"
    summary: ClassVar[str] = "EAP without one layer's gradient after the other, so that effects cannot cancel"
    cost: ClassVar[str] = "2 forward + layers × backward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.00745"
    additive: ClassVar[bool] = False

    def memory_need(self, subject: Subject) -> MemoryNeed:
        """The run stays while it is gone back through: beside it lie its writes, the replaced ones, their difference."""
        return MemoryNeed(writes=3, slopes=1)

    def scores(self, request: Request) -> Tensor:
        needs_slope_at_clean(self.name, request.metric)
        graph = request.subject.graph
        sums, mine = torch.zeros(2, *graph.edge_mask.shape, dtype=torch.float64), request.share()
        for part in request.track(fitting_parts(mine, _sums), mine.batches, f"scoring edges ({self.name})"):
            sums += part.double().cpu()
        signed, sizes = current().sum(sums)
        scores = signed.sign() * sizes / (_passes(graph) * len(request.pairs))
        refuse_zeros(scores * graph.edge_mask, request.metric)
        return scores


def _sums(batch: Batch) -> Tensor:
    """Sums of the I_ℓ over layers and the examples of a batch, and of their absolute values: [2, writer, reader]."""
    subject, pairs, recorder, dropped = batch.subject, batch.pairs, Recorder(batch.subject), DroppedLayer()

    def objective(logits: Tensor) -> Tensor:
        return batch.objective(logits, logits.detach()).sum()

    shape = (2, *subject.graph.edge_mask.shape)
    sums = torch.zeros(shape, dtype=subject.work_dtype, device=subject.device)
    rule, hooks = BackwardRule((dropped,)), RunHooks(watching=recorder.hooks)
    with live_run(subject, pairs.clean, pairs.positions, objective, rule=rule, hooks=hooks) as run:
        deltas = recorder.writes.minus(batch.replaced_writes(), subject.work_dtype)
        for dropped.layer in _drops(subject.graph):
            slopes = ReaderGradients(subject)
            run.gradients(slopes.taker())
            scores = contract_each(subject, deltas, slopes, len(pairs))
            sums[0] += scores.sum(dim=0)
            sums[1] += scores.abs().sum(dim=0)
    return sums


def _drops(graph: Graph) -> Iterator[int | None]:
    """The layers to drop, one for each backward pass; of a model with a single layer none."""
    yield from range(graph.layers) if graph.layers > 1 else (None,)


def _passes(graph: Graph) -> Tensor:
    """In how many of the passes each reader has a gradient, [reader]."""
    count = torch.full((len(graph.readers),), float(max(1, graph.layers - 1)), dtype=torch.float64)
    count[-1] = graph.layers
    return count
