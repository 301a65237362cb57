"""Odds: how likely a removal is taken back, learnt from the decisions as they come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, final


class Evidence(NamedTuple):
    """What speaks for a removal being taken back where it is positive, and against it where it is negative.

    `even` is always 1; `margin`: the log of its forecast change over the threshold; `last`: 1 if the last such removal was
    taken back, −1 if not, and less the less the two have in common.
    """

    even: float
    margin: float
    last: float


# What each piece of evidence counts before there are decisions, and how much one decision can change that. Fitted to the log
# loss of thirty searches on nano: how far forecasts are off differs from layer to layer, so that is forgotten fast, while the
# margin's own weight had better stay.
WEIGHTS, RATES = Evidence(0.0, 1.3, 0.75), Evidence(0.8, 0.0, 1.0)


@final
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
        self.weights = Evidence(*(w + r * error * x for w, r, x in zip(self.weights, RATES, evidence, strict=True)))
