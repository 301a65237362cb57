"""Logits must be numbers."""

from __future__ import annotations

from torch import Tensor

from edgewise.errors import NumericalError


def finite(logits: Tensor, name: str) -> Tensor:
    """The logits; NumericalError if one of them is NaN or infinite."""
    if not bool(logits.isfinite().all()):
        rows = (~logits.isfinite()).any(dim=-1).nonzero().flatten().tolist()
        raise NumericalError(
            f"{name} gives NaN or infinite logits for {len(rows)} prompt(s) of this batch, the first being number {rows[0]}; "
            "check the weights, or load the model in another dtype"
        )
    return logits
