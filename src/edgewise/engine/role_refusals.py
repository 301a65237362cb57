"""What is said of a field of a family that is wrong, and how far from right is too far."""

from __future__ import annotations

import torch
from torch import Tensor

from edgewise.errors import UnsupportedModel
from edgewise.models.norms import NormKind
from edgewise.models.subject import Subject

# How far results may stray from what they should be, relative to the largest number.
STRAYING = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.05}


def wrong_field(subject: Subject, name: str, problem: str) -> UnsupportedModel:
    """The refusal of a family in which the field `name` is wrong."""
    value = getattr(subject.family, name)
    shown = value.__name__ if isinstance(value, type) else value if isinstance(value, NormKind) else repr(value)
    model = type(subject.model).__name__
    return UnsupportedModel(f"{model} as family {subject.family.name!r}: {name}={shown} {problem}")


def relative_distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest number of `b`."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-12))
