"""EAP over backward passes that each leave one layer's gradient out, so that effects cannot cancel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution.base import ScoringMethod, needs_slope_at_clean, refuse_zeros
from edgewise.attribution.contraction import contract_each
from edgewise.attribution.fitting import fitting_parts
from edgewise.attribution.reader_gradients import ReaderGradients
from edgewise.engine.gradients import RunHooks, live_run
from edgewise.engine.record import Recorder
from edgewise.engine.rules import BackwardRule, DroppedLayer
from edgewise.engine.writes import WriteChange
from edgewise.graph import Graph
from edgewise.ranks import current
from edgewise.request import Batch, Request


@final
@dataclass(frozen=True)
class AtPGradDrop(ScoringMethod):
    """The mean absolute score of EAP over backward passes that each leave out the gradient of one layer.

        |score(w → r)| = Σ over examples of 1/(L−1) · Σ over layers ℓ of |I_ℓ(w → r)|, divided by the number of examples
        I_ℓ(w → r) = Σ over positions, d_model of (clean_w − replaced_w) · gradient_r(ℓ)

    gradient_r(ℓ) is the gradient of the metric at the clean run at the input of r, while no gradient passes what the
    heads and the MLP of layer ℓ write. A reader may affect the metric twice: directly, and through a later layer that
    undoes the effect. In `eap` the two almost cancel, and a small error in either becomes the whole score. Without the
    layer that undoes it, the direct effect is left.

    A mean of absolute values has no sign, so the score takes that of the sum of the I_ℓ over layers and examples. It is
    no predicted drop of the metric. A reader has no gradient without its own layer, hence L − 1; for `logits` the mean
    is over all L. With one layer nothing is dropped.

    Kramár, Lieberum, Shah, Nanda 2024, "AtP*" (arXiv:2403.00745): their GradDrop, for edges instead of nodes. Their
    other correction is `atp-qk`.
    """

    name: ClassVar[str] = "atp-graddrop"
    summary: ClassVar[str] = "EAP over passes that each leave out one layer's gradient, so that effects cannot cancel"
    cost: ClassVar[str] = "2 forward + layers × backward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.00745"
    additive: ClassVar[bool] = False

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
        change = WriteChange(recorder.writes, batch.replaced_writes(), subject.work_dtype)
        for dropped.layer in _drops(subject.graph):
            slopes = ReaderGradients(subject)
            run.gradients(slopes.taker())
            scores = contract_each(subject, change, slopes, len(pairs))
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
