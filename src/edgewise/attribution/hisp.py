"""Head importance for pruning: how far the metric moves when a head's query, key or value, or an MLP, is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution.base import Batch, Request, ScoringMethod, needs_slope_at_clean, refuse_zeros
from edgewise.attribution.constant_metric import refuse_rounding
from edgewise.attribution.fitting import fitting_parts
from edgewise.engine.gradients import GradientSink, RunHooks, live_run
from edgewise.engine.native import project
from edgewise.engine.record import Recorder
from edgewise.engine.replacement import Replacement
from edgewise.engine.writes import Writes
from edgewise.graph import Graph
from edgewise.models.subject import Subject
from edgewise.ranks import current

SMALLEST_NORM = 1e-6
# Normalised importances are at most 1; `input` and `logits`, which cannot be dropped, have the largest there is.
LARGEST = 1.0


@final
@dataclass(frozen=True)
class HISP(ScoringMethod):
    """Score each head's q, k, v and each MLP by its importance, and each edge by the less important of its two ends.

        importance(n) = Σ over examples |Σ over positions and dimensions (clean_n − replaced_n) · ∂metric/∂n at the clean run|

    n is the output of a q, k or v projection of a head, or of an MLP. Importances are divided, layer by layer, by their
    Euclidean norm (at least 1e-6). The edges at or above a threshold are therefore those that touch no q, k, v or MLP
    below it. A head writes as long as one of its q, k and v is left. `input` and `logits` always stay, and
    `input->logits` has the largest score, 1. Scores lie in [0, 1]. They do not say whether an edge helps or hurts, and
    are no predicted drop of the metric.

    Michel, Levy, Neubig 2019, "Are Sixteen Heads Really Better than One?" (arXiv:1905.10650), as used for circuits by
    Conmy et al. 2023 (arXiv:2304.14997). The code published with the latter subtracts nothing, so its importances are
    those of zero ablation. Here the replaced value is subtracted, as in the paper.
    """

    name: ClassVar[str] = "hisp"
    summary: ClassVar[str] = "head importance at the clean run, normalised by layer"
    cost: ClassVar[str] = "2 forward + 1 backward"
    paper: ClassVar[str] = "https://arxiv.org/abs/1905.10650"
    additive: ClassVar[bool] = False

    def scores(self, request: Request) -> Tensor:
        return edge_values(request.subject.graph, self.importances(request))

    def importances(self, request: Request) -> Tensor:
        """Normalised importance of every reader, float64 [reader] in index order; `logits` has 1."""
        needs_slope_at_clean(self.name, request.metric)
        graph = request.subject.graph
        total = torch.zeros(graph.layers, graph.readers_per_layer, dtype=torch.float64)
        mine = request.share()
        parts = fitting_parts(mine, lambda batch: _effects(batch).abs().sum(dim=0))
        for part in request.track(parts, mine.batches, f"scoring nodes ({self.name})"):
            total += part.double().cpu()
        total = current().sum(total)
        refuse_zeros(total, request.metric)
        refuse_rounding(total, request)
        norms = total.norm(dim=1, keepdim=True).clamp(min=SMALLEST_NORM)
        return torch.cat([(total / norms).flatten(), torch.tensor([LARGEST], dtype=total.dtype)])


def edge_values(graph: Graph, importances: Tensor) -> Tensor:
    """[writer, reader]: the lesser of the importance [reader] of an edge's reader and that of its writer's node.

    A writer is as important as the most important of the readers it is computed from.
    """
    of_writer = torch.where(graph.serves, importances[:, None], 0.0).amax(dim=0)
    of_writer[~graph.serves.any(dim=0)] = LARGEST
    return torch.minimum(of_writer[:, None], importances[None, :])


def _effects(batch: Batch) -> Tensor:
    """Predicted effect of replacing each node alone, [example, layer, reader of the layer]."""
    subject, pairs, recorder = batch.subject, batch.pairs, Recorder(batch.subject)

    def objective(logits: Tensor) -> Tensor:
        return batch.objective(logits, logits.detach()).sum()

    shape = (len(pairs), subject.graph.layers, subject.graph.readers_per_layer)
    effects = torch.zeros(shape, dtype=subject.work_dtype, device=subject.device)
    with live_run(subject, pairs.clean, pairs.positions, objective, hooks=RunHooks(watching=recorder.hooks)) as run:
        run.last_gradients(_Effects(subject, recorder.writes, batch.replacement, effects))
    return effects


@final
@dataclass(frozen=True)
class _Effects(GradientSink):
    """Multiplies the gradients at the nodes with what changes there, into `effects` [example, layer, reader of the layer]."""

    subject: Subject
    clean: Writes
    replacement: Replacement
    effects: Tensor

    def heads(self, layer: int, stream: Tensor, projected: Tensor, gradient: Tensor) -> None:
        block, readers = self.subject.blocks[layer], projected.shape[2]
        replaced = project(block, self.replacement.attention_in[layer], slice(readers))
        change = (projected - replaced).to(self.effects.dtype) * gradient
        self.effects[:, layer, :readers] = change.sum(dim=(1, 3))

    def mlp_out(self, layer: int, gradient: Tensor) -> None:
        write = (self.clean.mlp[layer] - self.replacement.writes.mlp[layer]).to(self.effects.dtype)
        self.effects[:, layer, -1] = (write * gradient).sum(dim=(1, 2))
