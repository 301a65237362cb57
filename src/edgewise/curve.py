"""Curve: what circuits of growing size keep of a behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class CurvePoint:
    """Faithfulness of the circuit with that many edges, and of a random circuit as large; None where not measured."""

    edges: int
    faithfulness: float | None
    random: float | None = None


@final
@dataclass(frozen=True)
class Curve:
    """What each size costs: faithfulness in `metric` over the number of edges taken in the order of `ranking`."""

    metric: str
    ranking: str
    points: tuple[CurvePoint, ...]

    def enough(self, share: float) -> int | None:
        """The smallest size measured from which on all keep so much; None if only all edges do.

        >>> points = (CurvePoint(0, 0.0), CurvePoint(9, 0.9), CurvePoint(20, 0.7), CurvePoint(40, 0.9), CurvePoint(99, 1.0))
        >>> curve = Curve("kl", "absolute", points)
        >>> curve.enough(0.85), curve.enough(0.95)
        (40, None)
        """
        found = None
        for point in sorted(self.points, key=lambda one: one.edges, reverse=True)[1:]:
            if point.faithfulness is None or point.faithfulness < share:
                break
            found = point.edges
        return found
