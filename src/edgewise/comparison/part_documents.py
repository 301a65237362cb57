"""The documents in which a comparison keeps what is finished and is its own, as they are read back."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from edgewise.evaluation import GridPoint
from edgewise.formats.run_documents import Count, Number
from edgewise.store.schema import Strict


class AreasDocument(Strict):
    """`areas.json`: the areas of a method that cost runs of the model; None is no number."""

    cpr: Number | None
    cmd: Number | None


class GridPointDocument(Strict):
    """One pair of thresholds; `youden` follows from the rates."""

    threshold: Number
    tau: Number
    candidates: Count
    edges: Count
    forwards: Count
    tpr: Number
    fpr: Number
    youden: Number

    def point(self) -> GridPoint:
        return GridPoint(**self.model_dump(exclude={"youden"}))


class GridDocument(Strict):
    """`grid.json`: the grid of thresholds of a comparison."""

    level: str
    points: list[GridPointDocument]


class SampleDocument(Strict):
    """`sample.json`: edges drawn evenly, and the effect of patching each alone."""

    edges: list[str]
    effects: list[Number]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len(self.edges) != len(self.effects):
            raise ValueError(f"it has {len(self.edges)} edges but {len(self.effects)} effects")
        return self
