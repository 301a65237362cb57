"""Entry: one thing that a comparison holds beside others, a method with its options or scores that are there already."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, final

from pydantic import Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from edgewise.display import clean
from edgewise.errors import FileError, GraphMismatch, InvalidValue
from edgewise.formats.reading import import_finding
from edgewise.graph import Graph
from edgewise.runs.portable import without_files
from edgewise.scores import Scores
from edgewise.store.schema import Strict, first_problem
from edgewise.store.targets import component

LONGEST_LABEL = 60
# What stands in the place of a method's name where scores are given.
GIVEN = "given"
# What can be changed of an entry beside the options of its method.
ENTRY_FIELDS = ("metric", "values", "ranking", "examples", "models", "label")


def _scores(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, Path) else value


def _as_text(value: Any) -> str | None:
    """Scores that are no file have no place in one."""
    return None if value is None else value if isinstance(value, str) else f"{value!r}"


def _label(scores: Any) -> str:
    """What scores are called where nobody says so: by their file, or by the method that found them."""
    if isinstance(scores, Scores):
        return f"{scores.provenance.get('method', 'scores')} ({GIVEN})"[:LONGEST_LABEL]
    path = Path(scores)
    return (path.parent.name if path.stem == "scores" and path.parent.name else path.stem)[:LONGEST_LABEL]


@final
class Entry(Strict):
    """One method of a comparison: its name, its options, and under which label its results stand.

    `metric` is what it works with, by default that of the comparison, or of a search its own. A search that can be told how
    many edges to keep runs once for each size; `values` makes it go through these values of its size option instead, and
    gives a search that decides itself other values than its own. `ranking` says how scores are compared: by absolute
    value, or by value with those that help first. `examples` is on how many of the pairs, the first ones, it works: a search
    whose every step runs the model can do with fewer. `models="small"` leaves it out on a model with more than 2,000 edges.
    `scores` are some that are there already, Scores or a file with them, instead of a method that would find them.
    """

    method: str
    label: str | None = Field(default=None, min_length=1, max_length=LONGEST_LABEL)
    options: dict[str, Any] = Field(default_factory=dict)
    metric: str | None = None
    values: list[float] | None = Field(default=None, min_length=1)
    ranking: Literal["absolute", "signed"] = "absolute"
    examples: int | None = Field(default=None, ge=1)
    models: Literal["all", "small"] = "all"
    scores: Annotated[Any, PlainValidator(_scores), PlainSerializer(_as_text)] = None

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or value.get("scores") is None:
            return value
        if not isinstance(value["scores"], str | Path | Scores):
            raise ValueError(f"scores must be Scores or a file with scores, not a {type(value['scores']).__name__}")
        return {**value, "method": value.get("method", GIVEN), "label": value.get("label") or _label(value["scores"])}

    @model_validator(mode="after")
    def _nothing_to_run(self) -> Self:
        fixed = self.options or self.metric or self.values or self.examples
        if self.scores is not None and (self.method != GIVEN or fixed):
            raise ValueError("scores that are given take neither a method nor options of one; leave these out")
        return self

    @property
    def name(self) -> str:
        """What it is called in tables and pictures, on one line."""
        return clean(self.label or self.method, LONGEST_LABEL)

    @property
    def folder(self) -> str:
        """The name as one of a folder."""
        return component(self.name, also="._+")

    def portable(self) -> dict[str, Any]:
        """Its fields as plain values, without options that name files."""
        return {**self.model_dump(), "options": without_files(self.options)}

    @property
    def absolute(self) -> bool:
        """Whether scores are ranked by absolute value."""
        return self.ranking == "absolute"

    @classmethod
    def of(cls, /, **fields: Any) -> Self:
        """The entry with these fields; InvalidValue, in one sentence, if they make none."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidValue(
                f"the method {fields.get('method')!r} is not usable: {first_problem(error, cls)}"
            ) from None


def entry_fields(value: Any) -> Any:
    """An entry as a mapping: a method by its name alone, a file of scores as `FILE` or `LABEL=FILE`, or Scores."""
    if isinstance(value, Scores):
        return {"scores": value}
    if not isinstance(value, str):
        return dict(value) if isinstance(value, Entry) else value
    label, equals, path = value.partition("=")
    if equals and os.sep not in label:
        return {"scores": path, "label": label}
    return {"scores": value} if Path(value).suffix or os.sep in value else {"method": value}


def given_scores(entry: Entry, graph: Graph | None = None) -> Scores:
    """The scores of an entry that has them; GraphMismatch for those of another graph, FileError for a file without any."""
    found = entry.scores if isinstance(entry.scores, Scores) else import_finding(entry.scores).scores
    if found is None or found.level != "edges":
        raise FileError(f"{entry.scores} holds no scores of edges, so it cannot be compared; give a file that does")
    if graph is not None and found.graph != graph:
        raise GraphMismatch(f"the scores {entry.name!r} are of another model: {found.graph}, not {graph}")
    return found
