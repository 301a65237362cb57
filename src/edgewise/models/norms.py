"""Norms: the model's own modules, called as they are, with what their derivative needs.

For LayerNorm and RMSNorm alike, with x̂ the normalised input, s = 1/σ and γ the gain, the transposed Jacobian is

    Jᵀu = s · (C(γ ⊙ u) − x̂ · mean(x̂ ⊙ γ ⊙ u)),        C = centring (LayerNorm) or nothing (RMSNorm)

which lets the gradient of hundreds of readers pass a norm as one matrix product and one rank-one update per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, final

import torch
from torch import Tensor

from edgewise.models.placement import present


class NormKind(Enum):
    """What a norm module computes: LAYER, RMS, RMS_PLUS_ONE (its gain is 1 + weight) or NONE."""

    LAYER = "layer norm"
    RMS = "RMS norm"
    RMS_PLUS_ONE = "RMS norm with gain 1 + weight"
    NONE = "no norm"


@final
@dataclass(frozen=True)
class Norm:
    """A norm module of the model together with its kind. Without a norm, `module` is one that is given the stream itself."""

    module: Any
    kind: NormKind

    def __call__(self, x: Tensor) -> Tensor:
        return x if self.kind is NormKind.NONE else self.module(x)

    @property
    def centred(self) -> bool:
        """Whether the mean is subtracted."""
        return self.kind is NormKind.LAYER

    def gain(self, like: Tensor) -> Tensor:
        """γ: float [d], in the dtype of `like`; one without a norm, or where the norm has no weights."""
        if self.kind is NormKind.NONE or self.module.weight is None:
            return like.new_ones(like.shape[-1])
        with present(self.module):
            weight = self.module.weight.detach().to(like.dtype)
        return weight + 1 if self.kind is NormKind.RMS_PLUS_ONE else weight

    def shift(self, like: Tensor) -> Tensor:
        """β: float [d], in the dtype of `like`; zero where the norm has none."""
        if self.kind is NormKind.NONE or getattr(self.module, "bias", None) is None:
            return torch.zeros_like(like)
        with present(self.module):
            return self.module.bias.detach().to(like.dtype)

    def normalise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x̂ [.., d] and s [.., 1] for x [.., d]; x and 1 without a norm."""
        if self.kind is NormKind.NONE:
            return x, torch.ones_like(x[..., :1])
        centred = x - x.mean(dim=-1, keepdim=True) if self.centred else x
        scale = (centred.square().mean(dim=-1, keepdim=True) + self._eps).rsqrt()
        return centred * scale, scale

    def replayed(self, x: Tensor) -> Tensor:
        """What a module of this kind gives for x [.., d], from its weights."""
        gain, shift = self.gain(x[0]), self.shift(x[0])
        return self.normalise(x)[0] * gain + shift

    @property
    def _eps(self) -> float:
        eps = self.module.variance_epsilon if hasattr(self.module, "variance_epsilon") else self.module.eps
        return float(torch.finfo(self.module.weight.dtype).eps if eps is None else eps)  # as torch.nn.RMSNorm has it
