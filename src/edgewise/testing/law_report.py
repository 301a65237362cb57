"""Reports on a member: every law with what it gave, and which are broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.errors import InvalidValue

# How far two ways to the same numbers may part, relative to the largest of them, in float64.
ALLOWED = 1e-5


@final
@dataclass(frozen=True)
class Finding:
    """One law: how far its two sides are apart, and how far they may be.

    `law`: the law in words.
    `measured`: the distance, relative to the largest number; infinite if the law raised an error.
    `allowed`: the largest distance at which it holds.
    `error`: what was raised.
    """

    law: str
    measured: float
    allowed: float
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether the law holds."""
        return self.measured <= self.allowed

    def __str__(self) -> str:
        found = self.error or f"off by {self.measured:.1e}, allowed {self.allowed:.0e}"
        return f"{self.law} ({found})"


@final
@dataclass(frozen=True)
class LawReport:
    """What every law gave; `print` shows one line for each.

    `title`: what was checked.
    `findings`: a Finding for each law.
    """

    title: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The laws that do not hold."""
        return tuple(finding for finding in self.findings if not finding.holds)

    def __str__(self) -> str:
        lines = [f"{'holds ' if finding.holds else 'BROKEN'}  {finding}" for finding in self.findings]
        return "\n".join([self.title, *lines])

    @property
    def complaint(self) -> str:
        """One sentence: which laws are broken, each with what it gave."""
        kept = f"{len(self.broken)} of {len(self.findings)} laws"
        return f"{self.title} breaks {kept}: {'; '.join(map(str, self.broken))}"


def found_of(law: str, measure: Callable[[], float], allowed: float = ALLOWED) -> Finding:
    """What a law gave; one that raises is broken, and says what was raised."""
    try:
        return Finding(law, measure(), allowed)
    except Exception as error:  # a member of somebody else may raise anything, in the middle of any law
        first = (str(error).strip() or "no message").splitlines()[0]
        return Finding(law, float("inf"), allowed, f"{type(error).__name__}: {first}")


def kept(title: str, laws: Iterable[tuple[str, Callable[[], float]]]) -> LawReport:
    """The report, if all laws hold; InvalidValue, with those that do not, otherwise."""
    report = LawReport(title, tuple(found_of(law, measure) for law, measure in laws))
    if report.broken:
        raise InvalidValue(report.complaint)
    return report


def demand(holds: bool, otherwise: str) -> None:
    """InvalidValue that says what is wrong, unless it holds."""
    if not holds:
        raise InvalidValue(otherwise)


def distance(ours: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number expected; infinite for NaN."""
    ours, expected = ours.detach().double().cpu(), expected.detach().double().cpu()
    found = float((ours - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
    return found if found == found else float("inf")


def whole(values: Tensor) -> bool:
    """Whether all are finite."""
    return bool(torch.isfinite(values).all())
