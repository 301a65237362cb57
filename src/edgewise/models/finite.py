"""Logits must be numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import NumericalError


def finite(logits: Tensor, name: str) -> Tensor:
    """The logits; NumericalError if one of them is NaN or infinite, which says so of those that a model masks."""
    if bool(logits.isfinite().all()):
        return logits
    bad = ~logits.isfinite()
    rows = bad.any(dim=-1).nonzero().flatten().tolist()
    if bool((logits[bad] == -torch.inf).all()):
        masked = f"{name} masks {int(bad[rows[0]].sum())} of {logits.shape[-1]} logits with -inf"
        raise NumericalError(f"{masked}: mask them with a large negative number, such as -10000, instead")
    raise NumericalError(
        f"{name} gives NaN or infinite logits for {len(rows)} prompt(s) of this batch, the first being number {rows[0]}; "
        "check the weights, or load the model in another dtype"
    )
