"""KeepRule: when a search takes a removal back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

from edgewise.errors import InvalidValue


@final
@dataclass(frozen=True)
class KeepRule:
    """Edges are kept whose removal changes the metric (lower is better) by `tau` or more.

    Tau is at least 0; −∞, at which everything is kept, is let through. `sign`: "signed" takes an improvement for no change,
    "absolute" for a change. `whole_readers`: try all edges into a q, k or v together first. InvalidValue for other values.
    """

    tau: float
    sign: Literal["signed", "absolute"]
    whole_readers: bool

    def __post_init__(self) -> None:
        if self.sign not in ("signed", "absolute"):
            raise InvalidValue(f"rule must be 'signed' or 'absolute', not {self.sign!r}")
        tau = self.tau
        if isinstance(tau, bool) or not isinstance(tau, (int, float)) or math.isnan(tau):
            raise InvalidValue(f"tau must be a number, not {tau!r}")
        if -math.inf < tau < 0:
            raise InvalidValue(
                f"tau must be at least 0, not {tau!r}: it is the change of the metric that keeps an edge"
            )

    def keeps(self, before: float, after: float) -> bool:
        """Whether a removal that moves the metric so is taken back; a change of exactly tau is."""
        change = abs(after - before) if self.sign == "absolute" else after - before
        return not change < self.tau
