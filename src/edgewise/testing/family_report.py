"""The laws on a model and its family."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from edgewise.errors import UnsupportedModel
from edgewise.loading import load
from edgewise.models import Family
from edgewise.testing.law_report import LawReport, found_of
from edgewise.testing.laws import laws, random_pairs

# How far two ways to the same numbers may part, relative to the largest of them.
ALLOWED_BY_DTYPE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 0.2}


def check_family(model: Any, family: Family | None = None) -> LawReport:
    """Check a model and the declaration of its family by the laws that every family obeys.

    `model`: whatever `load` takes; best a tiny random model of the class.
    `family`: the declaration, by default the one that edgewise has.

    Returns a LawReport if all laws hold. Raises UnsupportedModel with the laws that are broken, and whatever `load`
    raises. The model is never changed.
    """
    report = family_report(model, family)
    if report.broken:
        raise UnsupportedModel(report.complaint)
    return report


def family_report(model: Any, family: Family | None = None) -> LawReport:
    """Check a model and its family as `check_family` does, but return the report even if laws are broken.

    `model`, `family`: as in `check_family`.

    Returns a LawReport.
    """
    subject = load(model, family=family)
    pairs = random_pairs(subject)
    allowed = ALLOWED_BY_DTYPE[subject.dtype]
    findings = [found_of(law, partial(measure, subject, pairs), allowed) for law, measure in laws(subject)]
    return LawReport(f"{type(subject.model).__name__} as family {subject.family.name!r}", tuple(findings))
