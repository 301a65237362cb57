"""Slopes: the gradients of one run or several, weighted, summed, and ready to be pulled back to the readers' inputs.

With x̂ the normalised input, s its scale, γ the gain and C the centring, the gradient at a reader's own input is

    Σ over runs of  s · C(γ ⊙ WᵀG − x̂ · mean(x̂ ⊙ γ ⊙ WᵀG))

Its first part is linear in s·G, so the runs are summed in the width of a head; the second is a scalar for each token,
reader and run. A path of many points therefore costs little more than one point. A rule that freezes the norms' scales
leaves the second part out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgewise.engine.record import Gradients, Recording
from edgewise.engine.rules import PLAIN, Rule
from edgewise.models.family import Block
from edgewise.models.norms import NormKind
from edgewise.models.subject import Subject


@dataclass(frozen=True)
class _Turn:
    """One run's part along the normalised input: `normed` [token, d_model] times `along` [token, reader]."""

    normed: Tensor
    along: Tensor


class Slopes:
    """Gradients of the runs added so far, by layer."""

    def __init__(self, subject: Subject, rule: Rule = PLAIN) -> None:
        layers = range(subject.graph.layers)
        self.subject, self.rule = subject, rule
        self.runs = 0
        self.heads: list[Tensor | None] = [None for _ in layers]
        self.mlp: list[Tensor | None] = [None for _ in layers]
        self.final: Tensor | None = None
        self._turns: list[list[_Turn]] = [[] for _ in layers]
        self._constants = [_constant(subject, block) for block in subject.blocks]

    def add(self, recording: Recording, gradients: Gradients, weight: float = 1.0) -> None:
        """Count one run in: what it recorded, the gradients taken at it, and its weight on the path."""
        dtype = self.subject.work_dtype
        for layer in range(self.subject.graph.layers):
            self._add_heads(layer, recording, gradients, weight)
            if self.subject.graph.mlps:
                self._add_mlp(layer, recording, gradients, weight)
        self.final = _plus(self.final, weight * gradients.final.flatten(0, 1).to(dtype))
        self.runs += 1

    def into(self, out: Tensor, readers: slice, rows: slice) -> None:
        """Fill the first rows of `out` [reader, token, d_model] with the gradients of whole layers of readers.

        Left out is the centring of the norms, which may as well be done to the writers.
        """
        per_layer = self.subject.graph.readers_per_layer
        for number, layer in enumerate(range(readers.start // per_layer, readers.stop // per_layer)):
            part = out[number * per_layer : (number + 1) * per_layer]
            heads = self.subject.blocks[layer].projections.readers
            self._heads_into(layer, part[:heads], rows)
            mlp = self.mlp[layer]
            if mlp is not None:
                part[heads] = mlp[rows]

    def _add_heads(self, layer: int, recording: Recording, gradients: Gradients, weight: float) -> None:
        norm, dtype = self.subject.blocks[layer].attention_norm, self.subject.work_dtype
        x = recording.attention_in[layer].flatten(0, 1).to(dtype)
        normed, scale = norm.normalise(x)
        gradient = gradients.heads[layer].flatten(0, 1).to(dtype) * (weight * scale[:, None])
        self.heads[layer] = _plus(self.heads[layer], gradient)
        if norm.kind is NormKind.NONE or self.rule.freezes_norms:
            return
        # The product of the gradient with W x̂ γ, which is the projection's output less a constant.
        projected = gradients.projected[layer].flatten(0, 1).to(dtype) - self._constants[layer]
        along = (gradient * projected).sum(dim=-1) / x.shape[-1]
        self._turns[layer].append(_Turn(normed, along))

    def _add_mlp(self, layer: int, recording: Recording, gradients: Gradients, weight: float) -> None:
        norm, dtype = self.subject.blocks[layer].mlp_norm, self.subject.work_dtype
        assert norm is not None
        x = recording.mlp_in[layer].flatten(0, 1).to(dtype)
        normed, scale = norm.normalise(x)
        pulled = gradients.mlp[layer].flatten(0, 1).to(dtype) * (weight * norm.gain(x) * scale)
        if norm.kind is not NormKind.NONE and not self.rule.freezes_norms:
            pulled -= normed * (pulled * normed).mean(dim=-1, keepdim=True)
        self.mlp[layer] = _plus(self.mlp[layer], pulled)

    def _heads_into(self, layer: int, out: Tensor, rows: slice) -> None:
        block, gradient = self.subject.blocks[layer], self.heads[layer]
        assert gradient is not None
        by_head = gradient[rows].transpose(0, 1)
        for part in block.projections.parts():
            torch.bmm(by_head[part.start : part.stop], part.weight.to(out.dtype), out=out[part.start : part.stop])
        if block.attention_norm.kind is not NormKind.NONE:
            out.mul_(block.attention_norm.gain(out[0]))
        for turn in self._turns[layer]:
            out.addcmul_(turn.along[rows].T[..., None], turn.normed[rows], value=-1)


def _plus(total: Tensor | None, term: Tensor) -> Tensor:
    return term if total is None else total.add_(term)


def _constant(subject: Subject, block: Block) -> Tensor:
    """What the projections give for a normalised input of zero: [reader, d_head]."""
    like = torch.empty(subject.d_model, dtype=subject.work_dtype, device=subject.device)
    shift, constants = block.attention_norm.shift(like), []
    for part in block.projections.parts():
        constant = part.weight.to(like.dtype) @ shift
        constants.append(constant if part.bias is None else constant + part.bias)
    return torch.cat(constants)
