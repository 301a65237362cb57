"""The documents in which a comparison keeps what is finished, as they are read back."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgewise.evaluation import GridPoint
from edgewise.store.schema import VERSION, Strict

COMPARISON_PART = "edgewise/comparison-part"


class PartDocument(Strict):
    """`found.json`: what a method found, beside its scores and circuits; `key` is what it was found on."""

    kind: Literal["edgewise/comparison-part"] = Field(default=COMPARISON_PART, alias="schema")
    version: Literal[1] = VERSION
    key: dict[str, Any]
    entry: dict[str, Any]
    seconds: float
    dial: str | None
    values: list[float]
    circuits: list[str]


class PointDocument(Strict):
    """One measured circuit."""

    edges: int
    live_edges: int
    metrics: dict[str, float | None]
    faithfulness: dict[str, float | None]
    found_on: dict[str, float | None] | None = None


class CurveDocument(Strict):
    """`curve.json`: the measured circuits of a method."""

    curve: list[PointDocument]


class AreasDocument(Strict):
    """`areas.json`: the areas of a method that cost runs of the model; None is no number."""

    cpr: float | None
    cmd: float | None


class GridPointDocument(Strict):
    """One pair of thresholds; `youden` follows from the rates."""

    threshold: float
    tau: float
    candidates: int
    edges: int
    forwards: int
    tpr: float
    fpr: float
    youden: float

    def point(self) -> GridPoint:
        return GridPoint(**self.model_dump(exclude={"youden"}))


class GridDocument(Strict):
    """`grid.json`: the grid of thresholds of a comparison."""

    level: str
    points: list[GridPointDocument]


class SampleDocument(Strict):
    """`sample.json`: edges drawn evenly, and the effect of patching each alone."""

    edges: list[str]
    effects: list[float]
