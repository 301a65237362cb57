"""EAP with queries and keys taken exactly through attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution.base import Batch, GradientMethod, needs_slope_at_clean
from edgewise.attribution.contraction import contract
from edgewise.attribution.neuron_scores import stream_gradients
from edgewise.attribution.patcher import Patcher
from edgewise.attribution.paths import clean_run
from edgewise.attribution.reader_gradients import ReaderGradients
from edgewise.engine.writes import WriteChange
from edgewise.metrics import Metric
from edgewise.models.hooks import steady


@final
@dataclass(frozen=True)
class AtPQK(GradientMethod):
    """EAP with the attention computed again for every edge into a query or a key.

        score(w → q or k of head h) = Σ over examples, positions, d_model of (attention − attention with that edge replaced)
                                      · ∂metric/∂(output of the attention) at the clean run

    All other edges score as in `eap`. A head that attends to almost one token alone has hardly any gradient at its
    queries and keys, however much their replacement would change. `eap` misses that; this method sees it. Only the
    attention itself is computed again: its effect on the metric stays linear.

    Kramár, Lieberum, Shah, Nanda 2024, "AtP*" (arXiv:2403.00745): their correction of queries and keys, for edges
    instead of nodes. Their other correction, GradDrop, is `atp-graddrop`.
    """

    name: ClassVar[str] = "atp-qk"
    summary: ClassVar[str] = "EAP with the attention computed again for edges into queries and keys"
    cost: ClassVar[str] = "3 forward + 1 backward + one attention for each edge into a query or key"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.00745"

    def check(self, metric: Metric) -> None:
        needs_slope_at_clean(self.name, metric)

    def batch_scores(self, batch: Batch) -> Tensor:
        subject, graph = batch.subject, batch.subject.graph
        slopes = ReaderGradients(subject)
        clean, _ = clean_run(batch, slopes.taker())
        scores = contract(subject, WriteChange(clean, batch.replacement.writes, subject.work_dtype), slopes)
        with torch.no_grad(), steady(subject.model):
            patcher = Patcher.of(batch)
            for layer, at_heads, _ in stream_gradients(subject, slopes, slice(None)):
                for reader in range(graph.q_readers(layer).start, graph.k_readers(layer).stop) if layer >= 0 else ():
                    reach = graph.reach(reader)
                    scores[:reach, reader] = _effects(patcher, layer, reader, at_heads)
        return scores


def _effects(patcher: Patcher, layer: int, reader: int, at_heads: Tensor) -> Tensor:
    """Predicted drop when each edge into one query or key is replaced, summed over the batch: [writer]."""
    graph, deltas = patcher.batch.subject.graph, patcher.deltas
    block, slot = patcher.batch.subject.blocks[layer], reader - graph.q_readers(layer).start
    size, drops = patcher.at_once, []
    for start in range(0, graph.reach(reader), size):
        part = deltas[start : min(graph.reach(reader), start + size)]
        part = part.unflatten(1, patcher.clean.final_in.shape[:2]).to(block.device)
        change = patcher.change_of_attention(block, layer, slot, part).to(at_heads.device)
        drops.append(-(change.flatten(1, 2).to(at_heads.dtype) * at_heads).sum(dim=(1, 2)))
    return torch.cat(drops)
