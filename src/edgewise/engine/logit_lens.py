"""What each writer says directly: its write at the answer, through the final norm as it is in the clean run, unembedded.

A norm divides by a scale that all writers make together. Held at its value of the clean run, norm and unembedding are linear:
what the writers say adds up, with the biases, to the logits before a soft cap.

    said_w = W (γ ⊙ s · C(written_w)),        s the scale of the clean run, C centring (LayerNorm) or nothing (RMSNorm)
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.engine.record import Recording
from edgewise.engine.writes import expand
from edgewise.models.subject import Subject
from edgewise.models.weights import effective
from edgewise.pairs import NO_ANSWER, Pairs


def normed_writes(subject: Subject, clean: Recording, positions: Tensor) -> Tensor:
    """What the unembedding gets of each writer at the answer `positions` [example]: [writer, example, d_model]."""
    examples, width = clean.final_in.shape[:2]
    answers = torch.arange(examples, device=positions.device) * width + positions
    flat = clean.writes.flat().at(answers)
    buffer = flat.inputs.new_empty(len(subject.graph.writers), examples, subject.d_model, dtype=subject.work_dtype)
    written = expand(subject, flat, slice(0, examples), buffer)
    stream = clean.final_in.flatten(0, 1).index_select(0, answers.to(clean.final_in.device)).to(written.dtype)
    _, scale = subject.final_norm.normalise(stream)
    centred = written - written.mean(dim=-1, keepdim=True) if subject.final_norm.centred else written
    return centred * scale * subject.final_norm.gain(written[0, 0])


def answer_directions(subject: Subject, pairs: Pairs) -> Tensor:
    """What gives, times its input, the mean logit of the correct answers minus that of the wrong ones: [example, d_model]."""
    matrix = effective(subject.model.get_output_embeddings())[0]

    def mean(answers: Tensor) -> Tensor:
        there = (answers != NO_ANSWER).to(matrix.device)[..., None]
        rows = matrix[answers.clamp(min=0).to(matrix.device)].to(subject.work_dtype) * there
        return rows.sum(dim=1) / there.sum(dim=1)

    return subject.family.uncapped(subject.model, mean(pairs.correct) - mean(pairs.wrong))


def unembedded(subject: Subject, normed: Tensor) -> Tensor:
    """What the unembedding makes of that, without bias and soft cap: [.., vocab] of [.., d_model]."""
    matrix = effective(subject.model.get_output_embeddings())[0].to(normed.device, normed.dtype)
    return subject.family.uncapped(subject.model, normed @ matrix.T)
