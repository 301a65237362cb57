"""The one contract between Python and the page: a versioned document, strict, with a JSON Schema.

Nodes and readers are listed by name. Edges are columns: base64 of little-endian arrays, one entry for each edge, strongest
first, so that 32,491 edges are half a megabyte and need no parsing.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from edgewise.graph import HEAD
from edgewise.store.schema import GraphDocument, Strict

PAGE, CURVE, ATTENTION = "edgewise/page", "edgewise/curve", "edgewise/attention"

# Bits of `flags`: which circuits an edge is in.
IN_A, IN_B, IN_REFERENCE = 1, 2, 4

Words = Annotated[str, Field(description="base64 of little-endian uint16, one for each edge")]
Octets = Annotated[str, Field(description="base64 of uint8, one for each edge")]
Weights = Annotated[
    str, Field(description="base64 of uint8, 255 × weight: each position's on those up to it, in a row")
]
Floats = Annotated[str, Field(description="base64 of little-endian float32, one for each edge; NaN where unknown")]


class NodeEntry(Strict):
    """A node of the picture: an input, a head, an MLP or `logits`; `layer` and `head` are -1 where there is none."""

    name: str
    kind: Literal["input", "head", "mlp", "logits"]
    layer: int
    head: int


class ReaderEntry(Strict):
    """An input of a node; `nodes` are the indices of those it feeds: with grouped k and v, several heads."""

    name: str
    kind: Literal["q", "k", "v", ""]
    nodes: list[int]


class EdgeColumns(Strict):
    """The edges, strongest first: writer as a node's index, reader as a reader's index, and what is known of each.

    `total` counts the edges of the graph; `count` of them are here. `other` holds the scores of the second finding.
    """

    count: int
    total: int
    writer: Words
    reader: Words
    flags: Octets
    score: Floats | None
    exact: Floats | None
    other: Floats | None


class MetricEntry(Strict):
    """One metric of an evaluation."""

    name: str
    clean: float | None
    corrupted: float | None
    circuit: float | None
    random: float | None
    faithfulness: float | None
    random_faithfulness: float | None


class ExampleEntry(Strict):
    """One pair of prompts, token by token, with its right and wrong answers."""

    clean: list[str]
    corrupted: list[str]
    correct: list[str]
    wrong: list[str]


class CircuitEntry(Strict):
    """A circuit of the page and where it comes from; `key` says which bit of `flags` it is: a, b or reference.

    `judged` says which pairs its metrics are of.
    """

    key: Literal["a", "b", "reference"]
    label: str
    described: str
    edges: int
    has_path: bool
    facts: list[tuple[str, str]]
    metrics: list[MetricEntry]
    judged: str
    examples: list[ExampleEntry]
    repeat: str | None


class CurveEntry(Strict):
    """Faithfulness, and that of a random circuit as large, over the number of edges: three columns."""

    metric: str
    ranking: str
    edges: list[int]
    faithfulness: list[float | None]
    random: list[float | None]


class CurveDocument(CurveEntry):
    """A curve as a file of its own."""

    kind: Literal["edgewise/curve"] = Field(default=CURVE, alias="schema")
    version: Literal[1] = 1

    @model_validator(mode="after")
    def _columns_of_one_length(self) -> Self:
        if not len(self.edges) == len(self.faithfulness) == len(self.random):
            raise ValueError("its columns have different lengths")
        return self


class AttendedPrompt(Strict):
    """A prompt in which heads were looked at, token by token, and the position where its answer is read."""

    tokens: list[str]
    answer: int = Field(ge=0)

    @model_validator(mode="after")
    def _answer_within(self) -> Self:
        if self.answer >= len(self.tokens):
            raise ValueError("its answer is read after its end")
        return self


class AttentionEntry(Strict):
    """Where heads attend, prompt by prompt: `heads` has the weights of each head, one text for each prompt."""

    prompts: list[AttendedPrompt] = Field(min_length=1)
    heads: dict[str, list[Weights]]

    @model_validator(mode="after")
    def _a_weight_for_each_pair(self) -> Self:
        wanted = [len(prompt.tokens) * (len(prompt.tokens) + 1) // 2 for prompt in self.prompts]
        for head, texts in self.heads.items():
            try:
                found = [len(base64.b64decode(text, validate=True)) for text in texts]
            except (binascii.Error, ValueError):
                raise ValueError(f"the weights of {head[:40]} are not base64") from None
            if HEAD.fullmatch(head) is None or found != wanted:
                raise ValueError(f"the weights of {head[:40]} are not those of a head on these prompts")
        return self


class AttentionDocument(AttentionEntry):
    """Where heads attend, as a file of its own."""

    kind: Literal["edgewise/attention"] = Field(default=ATTENTION, alias="schema")
    version: Literal[1] = 1


class PageDocument(Strict):
    """Everything a page shows. `missing` says, in sentences, what it does not have.

    `provenance`: what a circuit that the page writes says of where it comes from, the size of the shown one left out.
    """

    kind: Literal["edgewise/page"] = Field(default=PAGE, alias="schema")
    version: Literal[1] = 1
    title: str
    model: str
    edgewise: str
    graph: GraphDocument
    nodes: list[NodeEntry]
    readers: list[ReaderEntry]
    edges: EdgeColumns
    ranking: Literal["absolute", "signed"]
    circuits: list[CircuitEntry]
    curves: list[CurveEntry]
    roles: dict[str, list[str]]
    attention: AttentionEntry | None
    missing: list[str]
    provenance: dict[str, Any]


def page_schema() -> dict[str, object]:
    """The JSON Schema of a page's document."""
    return PageDocument.model_json_schema(by_alias=True)
