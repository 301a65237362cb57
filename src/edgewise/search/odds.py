"""Odds: how likely a removal is taken back, learnt from the decisions as they come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple


class Evidence(NamedTuple):
    """What speaks for a removal being taken back where it is positive, and against it where it is negative.

    `even` is always 1; `margin`: the log of its forecast change over the threshold; `last`: 1 if the last such removal was
    taken back, −1 if not, and less the less the two have in common.
    """

    even: float
    margin: float
    last: float


# What each piece of evidence counts before there are decisions, and how much one decision can change that.
WEIGHTS, RATES = Evidence(0.0, 1.0, 0.5), Evidence(0.4, 0.12, 0.1)
# What the margin counts at the least.
LEAST = 0.2


@dataclass
class Odds:
    """A logistic regression on evidence, 1 / (1 + exp(−weights · evidence)), fitted by one step after each decision."""

    weights: Evidence = field(default=WEIGHTS)

    def of(self, evidence: Evidence) -> float:
        """The probability that a removal is taken back."""
        return 1 / (1 + math.exp(-sum(a * b for a, b in zip(self.weights, evidence, strict=True))))

    def learn(self, evidence: Evidence, kept: bool) -> None:
        """Take note of a decision: one step down the slope of the log loss."""
        error = kept - self.of(evidence)
        even, margin, last = (w + r * error * x for w, r, x in zip(self.weights, RATES, evidence, strict=True))
        self.weights = Evidence(even, max(LEAST, margin), last)
