"""Slopes: the gradients of one run or several, weighted, summed, and ready to be pulled back to the readers' inputs.

With x̂ the normalised input, s its scale, γ the gain and C the centring, the gradient at a reader's own input is

    Σ over runs of  s · C(γ ⊙ WᵀG − x̂ · mean(x̂ ⊙ γ ⊙ WᵀG))

Its first part is linear in s·G, so the runs are summed in the width of a head; the second is a scalar for each token,
reader and run. A path of many points therefore costs little more than one point. A rule that freezes the norms' scales
leaves the second part out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.engine.gradients import GradientSink
from edgewise.engine.rules import PLAIN, BackwardRule
from edgewise.models.block import Block
from edgewise.models.norms import NormKind
from edgewise.models.subject import Subject


@final
@dataclass(frozen=True)
class NormTerm:
    """One run's part along the normalised input: `normed` [token, d_model] times `along` [token, reader]."""

    normed: Tensor
    along: Tensor


@final
class ReaderGradients:
    """Gradients of the runs added so far, by layer."""

    def __init__(self, subject: Subject, rule: BackwardRule = PLAIN) -> None:
        layers = range(subject.graph.layers)
        self.subject, self.rule = subject, rule
        self.runs = 0
        self.heads: list[Tensor | None] = [None for _ in layers]
        self.mlp: list[Tensor | None] = [None for _ in layers]
        self.final: Tensor | None = None
        self.turns: list[list[NormTerm]] = [[] for _ in layers]
        self.constants = [_constant(subject, block) for block in subject.blocks]

    def taker(self, weight: float = 1.0) -> GradientSink:
        """Counts one more run in, with its weight on the path: what that run's gradients have to be given to."""
        self.runs += 1
        return _Adding(self, weight)

    def into(self, out: Tensor, readers: slice, rows: slice) -> None:
        """Fill the first rows of `out` [reader, token, d_model] with the gradients of whole layers of readers.

        Those of readers at which no run has one are zero. Left out is the centring of the norms, which may as well be done to
        the writers.
        """
        per_layer = self.subject.graph.readers_per_layer
        for number, layer in enumerate(range(readers.start // per_layer, readers.stop // per_layer)):
            part = out[number * per_layer : (number + 1) * per_layer]
            heads = self.subject.blocks[layer].projections.readers
            self._heads_into(layer, part[:heads], rows)
            mlp = self.mlp[layer]
            if self.subject.graph.mlps:
                part[heads] = 0 if mlp is None else mlp[rows]

    def _heads_into(self, layer: int, out: Tensor, rows: slice) -> None:
        block, gradient = self.subject.blocks[layer], self.heads[layer]
        if gradient is None:
            out.zero_()
            return
        by_head = gradient[rows].transpose(0, 1)
        for part in block.projections.parts():
            torch.bmm(by_head[part.start : part.stop], part.weight.to(out.dtype), out=out[part.start : part.stop])
        if block.attention_norm.kind is not NormKind.NONE:
            out.mul_(block.attention_norm.gain(out[0]))
        for turn in self.turns[layer]:
            out.addcmul_(turn.along[rows].T[..., None], turn.normed[rows], value=-1)


@final
@dataclass(frozen=True)
class _Adding(GradientSink):
    """Adds the gradients of one run to `slopes`."""

    slopes: ReaderGradients
    weight: float

    def heads(self, layer: int, stream: Tensor, projected: Tensor, gradient: Tensor) -> None:
        slopes, norm = self.slopes, self.slopes.subject.blocks[layer].attention_norm
        x, gradient = self._by_token(stream), self._by_token(gradient)
        normed, scale = norm.normalise(x)
        gradient = gradient * (self.weight * scale[:, None])
        if norm.kind is not NormKind.NONE and not slopes.rule.freezes_norms:
            # The product of the gradient with W x̂ γ, which is the projection's output less a constant.
            along = (gradient * (self._by_token(projected) - slopes.constants[layer])).sum(dim=-1) / x.shape[-1]
            slopes.turns[layer].append(NormTerm(normed, along))
        slopes.heads[layer] = _plus(slopes.heads[layer], gradient)

    def mlp_in(self, layer: int, gradient: Tensor) -> None:
        self.slopes.mlp[layer] = _plus(self.slopes.mlp[layer], self._by_token(gradient) * self.weight)

    def mlp_normed(self, layer: int, stream: Tensor, gradient: Tensor) -> None:
        slopes, norm = self.slopes, self.slopes.subject.blocks[layer].mlp_norm
        assert norm is not None
        x = self._by_token(stream)
        normed, scale = norm.normalise(x)
        pulled = self._by_token(gradient) * (self.weight * norm.gain(x) * scale)
        if norm.kind is not NormKind.NONE and not slopes.rule.freezes_norms:
            pulled -= normed * (pulled * normed).mean(dim=-1, keepdim=True)
        slopes.mlp[layer] = _plus(slopes.mlp[layer], pulled)

    def final(self, gradient: Tensor) -> None:
        self.slopes.final = _plus(self.slopes.final, self.weight * self._by_token(gradient))

    def _by_token(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).to(self.slopes.subject.work_dtype)


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
