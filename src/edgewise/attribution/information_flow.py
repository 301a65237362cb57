"""Information flow routes: how much of what a reader gets comes from each writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.attribution.base import ScoringMethod
from edgewise.attribution.fitting import in_parts
from edgewise.engine.record import record
from edgewise.engine.tiling import tiling_for
from edgewise.engine.writer_buffer import Workspace
from edgewise.engine.writes import expand
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.ranks import current
from edgewise.request import Request


@final
@dataclass(frozen=True)
class InformationFlow(ScoringMethod):
    """The share of each writer in what a reader gets, from one forward pass and without a metric.

        part(w, r) = max(‖x_r‖₁ − ‖x_r − out_w‖₁, 0),     score(w → r) = part(w, r) / Σ over writers of part(·, r)

    x_r is the residual stream that r reads, at each position up to the answer; scores are means over positions, then
    over examples. They lie in [0, 1], and those of one reader's edges add up to 1. Neither the metric nor the corrupted
    prompts enter: scores tell what flows, not what matters for a task. All readers of one stream, such as the queries,
    keys and values of a layer, have the same scores. The benchmark selects circuits with `Scores.greedy`.

    Ferrando, Voita 2024, "Information Flow Routes" (arXiv:2403.00824), for edges as in the EAP-IG library.
    """

    name: ClassVar[str] = "information-flow-routes"
    summary: ClassVar[str] = "how much of what a reader gets comes from each writer"
    replaces: ClassVar[bool] = False
    cost: ClassVar[str] = "1 forward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2403.00824"

    def scores(self, request: Request) -> Tensor:
        subject = request.subject
        total = torch.zeros(subject.graph.edge_mask.shape, dtype=torch.float64)
        mine = request.share()
        parts = in_parts(mine, lambda pairs: _shares(subject, subject.ready(pairs)))
        for part in request.track(parts, mine.batches, f"scoring edges ({self.name})"):
            total += part.double().cpu()
        return current().sum(total) / len(request.pairs)


@torch.no_grad()
def _shares(subject: Subject, batch: Pairs) -> Tensor:
    """Shares [writer, reader], summed over the examples of a batch."""
    recording, graph, space = record(subject, batch.clean, batch.positions), subject.graph, Workspace()
    read = torch.arange(batch.clean.shape[1], device=subject.device) <= batch.positions[:, None]
    weights = (read / read.sum(dim=1, keepdim=True)).flatten().to(subject.work_dtype)
    flat = recording.writes.flat()
    shares = flat.inputs.new_zeros(graph.edge_mask.shape, dtype=subject.work_dtype)
    for rows in tiling_for(subject.device).chunks(
        len(weights), 3 * len(graph.writers) * subject.d_model * shares.itemsize
    ):
        size = rows.stop - rows.start
        out = expand(subject, flat, rows, space.take("writers", (len(graph.writers), size, subject.d_model), shares))

        def of(stream: Tensor, reader: int, rows: slice = rows, out: Tensor = out) -> Tensor:
            return _parts(stream.flatten(0, 1)[rows].to(out), out[: graph.reach(reader)]) @ weights[rows]

        for layer in range(graph.layers):
            heads = graph.attention_readers(layer)
            shares[: graph.reach(heads.start), heads] += of(recording.attention_in[layer], heads.start)[:, None]
            if graph.mlps:
                mlp = graph.mlp_reader(layer)
                shares[: graph.reach(mlp), mlp] += of(recording.mlp_in[layer], mlp)
        shares[:, -1] += of(recording.final_in, len(graph.readers) - 1)
    return shares


def _parts(stream: Tensor, out: Tensor) -> Tensor:
    """Shares [writer, token] of `out` [writer, token, d_model] in `stream` [token, d_model].

    >>> _parts(torch.tensor([[3.0, -1.0]]), torch.tensor([[[3.0, 0.0]], [[0.0, -1.0]], [[-5.0, 0.0]]])).flatten().tolist()
    [0.75, 0.25, 0.0]
    """
    part = (stream.abs().sum(dim=-1) - (stream - out).abs().sum(dim=-1)).clamp(min=0)
    return part / part.sum(dim=0, keepdim=True).clamp(min=torch.finfo(part.dtype).tiny)
