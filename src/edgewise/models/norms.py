"""Norms: the model's own modules, called as they are, with what their derivative needs.

For LayerNorm and RMSNorm alike, with x̂ the normalised input, s = 1/σ and γ the gain, the transposed Jacobian is

    Jᵀu = s · (C(γ ⊙ u) − x̂ · mean(x̂ ⊙ γ ⊙ u)),        C = centring (LayerNorm) or nothing (RMSNorm)

which lets the gradient of hundreds of readers pass a norm as one matrix product and one rank-one update per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor


class NormKind(Enum):
    """How a norm module computes: which statistics it divides by and what its gain is."""

    LAYER = "layer norm"
    RMS = "RMS norm"
    RMS_PLUS_ONE = "RMS norm with gain 1 + weight"
    NONE = "no norm"


@dataclass(frozen=True)
class Norm:
    """A norm module of the model together with its kind."""

    module: Any
    kind: NormKind

    def __call__(self, x: Tensor) -> Tensor:
        return self.module(x)

    @property
    def centred(self) -> bool:
        """Whether the mean is subtracted."""
        return self.kind is NormKind.LAYER

    def gain(self, like: Tensor) -> Tensor:
        """γ: float [d], in the dtype of `like`."""
        weight = self.module.weight.detach().to(like.dtype)
        return weight + 1 if self.kind is NormKind.RMS_PLUS_ONE else weight

    def normalise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x̂ [.., d] and s [.., 1] for x [.., d]."""
        centred = x - x.mean(dim=-1, keepdim=True) if self.centred else x
        scale = (centred.square().mean(dim=-1, keepdim=True) + self._eps).rsqrt()
        return centred * scale, scale

    def pull_(self, gradients: Tensor, x: Tensor) -> None:
        """Replace gradients at the norm's output [reader, token, d_model] by those at its input x [token, d_model]."""
        if self.kind is NormKind.NONE:
            return
        normed, scale = self.normalise(x)
        gradients.mul_(self.gain(x) * scale)
        along = (gradients * normed).mean(dim=-1)
        if self.centred:
            gradients.sub_(gradients.mean(dim=-1, keepdim=True))
        gradients.addcmul_(along[..., None], normed, value=-1)

    @property
    def _eps(self) -> float:
        return float(self.module.variance_epsilon if hasattr(self.module, "variance_epsilon") else self.module.eps)
