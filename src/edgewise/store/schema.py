"""The documents edgewise writes: strict, versioned, and closed to unknown keys."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from edgewise.errors import FileError, UnknownName
from edgewise.graph import ONE_INPUT, Graph

VERSION = 1
# No number of layers, heads or neurons is larger.
MOST_OF_A_KIND = 1 << 24
CIRCUIT, SCORES = "edgewise/circuit", "edgewise/scores"
NEURON_CIRCUIT, NODE_SCORES = "edgewise/neuron-circuit", "edgewise/node-scores"

Model = TypeVar("Model", bound=BaseModel)
# A number that float32 holds.
Finite = Annotated[float, Field(ge=-3.4028235e38, le=3.4028235e38)]


class Strict(BaseModel):
    """A frozen value without coercion and without unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)


class GraphDocument(Strict):
    """The fields of a Graph. `inputs` is left out where there is one input writer, as in files of earlier versions."""

    layers: int = Field(ge=1, le=MOST_OF_A_KIND)
    heads: int = Field(ge=1, le=MOST_OF_A_KIND)
    kv_heads: int = Field(ge=1, le=MOST_OF_A_KIND)
    parallel: bool
    mlps: bool
    inputs: list[str] = list(ONE_INPUT)

    @classmethod
    def of(cls, graph: Graph) -> GraphDocument:
        return cls(**{**asdict(graph), "inputs": list(graph.inputs)})

    def graph(self) -> Graph:
        return Graph(**{**self.model_dump(), "inputs": tuple(self.inputs)})

    @model_serializer(mode="wrap")
    def _without_default(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in fields(self).items() if (name, value) != ("inputs", list(ONE_INPUT))}


class CircuitDocument(Strict):
    """A circuit: its edges by name, in index order."""

    kind: Literal["edgewise/circuit"] = Field(default=CIRCUIT, alias="schema")
    version: Literal[1] = VERSION
    graph: GraphDocument
    provenance: dict[str, Any]
    edges: list[str]


class ScoresHeader(Strict):
    """Scores whose values stand beside it as a tensor [writer, reader]."""

    kind: Literal["edgewise/scores"] = Field(default=SCORES, alias="schema")
    version: Literal[1] = VERSION
    graph: GraphDocument
    provenance: dict[str, Any]


class ScoresDocument(ScoresHeader):
    """Scores in readable form: a value for every edge."""

    edges: dict[str, Finite]


class NeuronCircuitDocument(Strict):
    """A circuit of neurons: the kept coordinates, counted from 0, of each writer that has any."""

    kind: Literal["edgewise/neuron-circuit"] = Field(default=NEURON_CIRCUIT, alias="schema")
    version: Literal[1] = VERSION
    graph: GraphDocument
    d_model: int = Field(ge=1, le=MOST_OF_A_KIND)
    provenance: dict[str, Any]
    neurons: dict[str, list[int]]


class NodeScoresHeader(Strict):
    """Scores of writers whose values stand beside it as tensors: [writer] and, if known, `neurons` [writer, d_model]."""

    kind: Literal["edgewise/node-scores"] = Field(default=NODE_SCORES, alias="schema")
    version: Literal[1] = VERSION
    graph: GraphDocument
    provenance: dict[str, Any]


class NodeScoresDocument(NodeScoresHeader):
    """Scores of writers in readable form: a value for every writer, and those of its neurons if they are known."""

    nodes: dict[str, Finite]
    neurons: dict[str, list[Finite]] | None = None


def dump(document: BaseModel | Mapping[str, Any], *, indent: int | None = 1) -> str:
    """The document as JSON text: the same value gives the same text, byte for byte."""
    value = document.model_dump(by_alias=True) if isinstance(document, BaseModel) else document
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent) + "\n"


def encode(text: str) -> bytes:
    """UTF-8; a lone surrogate (from an odd file name) becomes its JSON escape."""
    return text.encode("utf-8", "backslashreplace")


def plain(value: Any) -> Any:
    """`value` in JSON's types: mappings to objects, sequences to arrays, numbers that are not finite to null.

    >>> plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value)


def provenance_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance in JSON's types, in the order of its keys."""
    return {str(key): plain(provenance[key]) for key in sorted(provenance, key=str)}


def kind_of(value: Mapping[str, Any], name: str) -> str:
    """The document's schema, once its version is known to be readable; FileError otherwise."""
    kind, version = value.get("schema"), value.get("version")
    if {"cfg", "nodes", "edges"} <= value.keys():
        raise FileError(f"{name} is an EAP-IG file; use edgewise convert, or edgewise.open")
    if {"nodes", "links"} <= value.keys():
        raise FileError(
            f"{name} is an attribution graph of Neuronpedia or circuit-tracer: its nodes stand at tokens, and its edges do "
            "not say which input of a head they go into, so it is no circuit; open the file that it was made from instead"
        )
    if not isinstance(kind, str) or not kind.startswith("edgewise/"):
        raise FileError(f"{name} is JSON, but not a document of edgewise: it has no schema 'edgewise/…'")
    check_version(version, name)
    return kind


def check_version(version: Any, name: str) -> None:
    """FileError unless this edgewise reads documents of that version."""
    if type(version) is not int or version < 1:
        raise FileError(f"{name}: its schema version {version!r} is not a whole number from 1")
    if version > VERSION:
        raise FileError(
            f"{name} was written by a newer edgewise (schema {version}; this one reads up to {VERSION}); upgrade edgewise"
        )


def validate(model: type[Model], value: Mapping[str, Any], name: str) -> Model:
    """The document; FileError with one sentence about the first thing wrong."""
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        raise FileError(f"{name}: {first_problem(error, model)}") from None


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """One sentence about a validation error; an unknown key is answered with the nearest known one."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return str(UnknownName.of("key", place, _keys(model, problem["loc"])))
    if problem["type"] == "missing":
        return f"the key {place!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if not place:
        return message
    return f"{place}: {message[:1].lower()}{message[1:]}, not {_short(problem['input'])}"


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> Iterable[str]:
    for part in place[:-1]:
        inner = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model
    prefix = "".join(f"{part}." for part in place[:-1])
    return [prefix + (field.alias or key) for key, field in model.model_fields.items()]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
