"""Replacement: what a reader gets along the edges that are not kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.engine.record import Recording
from edgewise.engine.writes import Writes
from edgewise.models.subject import Subject
from edgewise.models.weights import keeping


@final
@dataclass(frozen=True)
class Replacement:
    """Replaced outputs of all writers, and what each reader gets when all its edges are replaced.

    `attention_in`, `mlp_in` (per layer) and `final_in`: the sum of the replaced writers a reader reads, plus the output
    biases of earlier layers, [example, position, d_model]; leading axes may be 1. `is_run` says that the values come from
    one run of the model, so that a node with replaced inputs computes its own replacement.
    """

    writes: Writes
    attention_in: list[Tensor]
    mlp_in: list[Tensor]
    final_in: Tensor
    is_run: bool

    @classmethod
    def of_run(cls, recording: Recording) -> Replacement:
        """The values of one recorded run (the corrupted one)."""
        return cls(recording.writes, recording.attention_in, recording.mlp_in, recording.final_in, is_run=True)

    @classmethod
    @keeping()
    def of_values(cls, subject: Subject, writes: Writes) -> Replacement:
        """Values given for each writer on its own (zero, means): what readers get is summed up here."""
        writes = writes.spread(subject)
        stream, attention_in, mlp_in = writes.stream, [], []
        for layer, block in enumerate(subject.blocks):
            stream = stream.to(block.device)
            attention_in.append(stream)
            heads = torch.einsum("bthe,hed->btd", writes.z[layer], block.output_weight.to(stream.dtype))
            middle = stream + heads if block.output_bias is None else stream + heads + block.output_bias
            if subject.graph.mlps:
                mlp_in.append(stream if subject.graph.parallel else middle)
                middle = middle + writes.mlp[layer]
            stream = middle
        return cls(writes, attention_in, mlp_in, stream.to(subject.device), is_run=False)

    def logits(self, subject: Subject, positions: Tensor) -> Tensor:
        """Logits [example, vocab] of the run in which every edge is replaced."""
        rows = torch.arange(len(positions), device=positions.device)
        stream = self.final_in.expand(len(positions), -1, -1)
        at_answers = stream[rows, positions if stream.shape[1] > 1 else 0]
        return subject.unembed(at_answers.to(subject.dtype))
