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
