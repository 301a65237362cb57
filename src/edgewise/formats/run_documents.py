"""The documents in which runs and comparisons say what they measured, as they are read back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgewise.store.schema import VERSION, Strict

COMPARISON_PART = "edgewise/comparison-part"
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1 << 62)]
# The name of a file beside the document, never a path.
Beside = Annotated[str, Field(pattern=r"^[\w-][\w.=+-]*$", max_length=255)]


class Loose(BaseModel):
    """A frozen value without coercion, whose other keys are left alone."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class MeasuredDocument(Loose):
    """What a circuit keeps by one metric."""

    faithfulness: Number | None = None


class ReportDocument(Loose):
    """`report.json`: what the circuit of a run keeps, as far as it is read back."""

    edges: Count
    examples: Count | None = None
    metrics: dict[str, MeasuredDocument] = Field(min_length=1)


class RankingDocument(Loose):
    """How a method of a comparison ranks edges."""

    ranking: Literal["absolute", "signed"] = "absolute"


class PartDocument(Strict):
    """`found.json`: what a method found, beside its scores and circuits; `key` is what it was found on."""

    kind: Literal["edgewise/comparison-part"] = Field(default=COMPARISON_PART, alias="schema")
    version: Literal[1] = VERSION
    key: dict[str, Any]
    entry: dict[str, Any]
    seconds: Annotated[Number, Field(ge=0)]
    dial: str | None
    values: list[Number]
    circuits: list[Beside]


class PointDocument(Strict):
    """One measured circuit."""

    edges: Count
    live_edges: Count
    metrics: dict[str, Number | None]
    faithfulness: dict[str, Number | None]
    found_on: dict[str, Number | None] | None = None


class MeasuresDocument(Strict):
    """`curve.json` of a method of a comparison: its measured circuits."""

    curve: list[PointDocument]
