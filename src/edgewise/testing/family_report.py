"""Reports: what every law gave on a model, and which are broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch

from edgewise.errors import UnsupportedModel
from edgewise.loading import load
from edgewise.models import Family, Subject
from edgewise.pairs import Pairs
from edgewise.testing.laws import Measure, laws, random_pairs

# How far two ways to the same numbers may part, relative to the largest of them.
ALLOWED = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 0.2}


@final
@dataclass(frozen=True)
class Finding:
    """One law on one model: how far the two sides are from each other, and how far they may be."""

    law: str
    measured: float
    allowed: float
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether the law was kept."""
        return self.measured <= self.allowed

    def __str__(self) -> str:
        found = self.error or f"off by {self.measured:.1e}, allowed {self.allowed:.0e}"
        return f"{self.law} ({found})"


@final
@dataclass(frozen=True)
class LawReport:
    """What every law gave. `broken` are the findings of those that do not hold."""

    title: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The laws that do not hold."""
        return tuple(finding for finding in self.findings if not finding.holds)

    def __str__(self) -> str:
        lines = [f"{'holds ' if finding.holds else 'BROKEN'}  {finding}" for finding in self.findings]
        return "\n".join([self.title, *lines])


def check_family(model: Any, family: Family | None = None) -> LawReport:
    """The report of all laws, if all hold; UnsupportedModel, with those that do not, otherwise.

    `model`: whatever `edgewise.load` takes; `family`: the declaration, default the one that edgewise has. Nothing about the
    model is changed. Raises also what `load` raises, such as for a declaration that does not fit the model.
    """
    report = family_report(model, family)
    if report.broken:
        kept = f"{len(report.broken)} of {len(report.findings)} laws"
        raise UnsupportedModel(f"{report.title} breaks {kept}: {'; '.join(map(str, report.broken))}")
    return report


def family_report(model: Any, family: Family | None = None) -> LawReport:
    """The report of all laws, whether they hold or not; arguments as of `check_family`."""
    subject = load(model, family=family)
    pairs = random_pairs(subject)
    allowed = ALLOWED[subject.dtype]
    findings = [_finding(law, measure, allowed, subject, pairs) for law, measure in laws(subject)]
    return LawReport(f"{type(subject.model).__name__} as family {subject.family.name!r}", tuple(findings))


def _finding(law: str, measure: Measure, allowed: float, subject: Subject, pairs: Pairs) -> Finding:
    try:
        return Finding(law, measure(subject, pairs), allowed)
    except Exception as error:  # a model of one's own may raise anything, in the middle of any law
        first = (str(error).strip() or "no message").splitlines()[0]
        return Finding(law, float("inf"), allowed, f"{type(error).__name__}: {first}")
