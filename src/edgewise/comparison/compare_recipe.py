"""CompareRecipe: everything a comparison depends on, as one frozen and strict value that goes to a file and comes back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self, final

from pydantic import BeforeValidator, Field, model_validator

from edgewise.arguments import Size, checked_size, count_of, share_in
from edgewise.comparison.entry import ENTRY_FIELDS, Entry, entry_fields
from edgewise.errors import InvalidValue
from edgewise.figures.canvas import IMAGE_FORMATS
from edgewise.graph import Graph
from edgewise.runs.recipe import EXAMPLES_OF_A_TASK, Setting, wanted_examples
from edgewise.scores import Scores
from edgewise.search import EAPThenACDC
from edgewise.store.schema import Strict

COMPARE_RECIPE = "edgewise/compare-recipe"

DEFAULT_SIZES: tuple[Size, ...] = ("1%", "2%", "5%", "10%", "20%", "50%")
# On a large model the last two would take hours.
DEFAULT_METHODS: dict[str, Literal["all", "small"]] = {"eap-ig": "all", "eap": "all", "acdc": "small", "exact": "small"}
# Up to so many edges patching each of them alone takes a minute or so: a model with no more is small.
MEASURED_UP_TO = 2000


@final
class Thresholds(Strict):
    """A grid for `eap+acdc`: each `threshold` of attribution with each `tau` of ACDC."""

    threshold: list[float] = Field(min_length=1)
    tau: list[float] = Field(min_length=1)


@final
class CompareRecipe(Setting):
    """A comparison: which methods, on which model and prompts, against which reference, at which sizes.

    `methods` are entries, or names of methods. `reference` is `task` (the circuit known for the task), `exact:1%` or
    `exact:0.05` (the edges whose measured effect exceeds that share of clean − corrupted, or that many units of the
    metric), `none`, or a file with a circuit; left open it is the task's where that fits the model, else `exact:1%` on
    small models. `edges` are the sizes at which circuits are measured; `heads` is one at which to study which heads they
    keep. `grid` holds `eap+acdc`, going by KL, against the reference at each pair of its two thresholds.
    `exact_sample` is how many edges, drawn evenly, are patched alone, for the agreement with exact effects where patching
    every edge takes too long. `areas` are those of the MIB benchmark, or none. `pictures` are file formats; none draws
    nothing.
    """

    document: ClassVar[str] = COMPARE_RECIPE

    methods: list[Annotated[Entry, BeforeValidator(entry_fields)]] = Field(
        default_factory=lambda: usual_entries(), min_length=1
    )
    reference: str | None = None
    edges: list[Size] = Field(default_factory=lambda: list(DEFAULT_SIZES), min_length=1)
    heads: Size | None = None
    grid: Thresholds | None = None
    exact_sample: int | None = Field(default=None, ge=2)
    areas: Literal["mib", "none"] = "mib"
    pictures: list[Literal["svg", "png"]] = Field(default_factory=lambda: list(IMAGE_FORMATS))

    def portable(self) -> dict[str, Any]:
        return {**self.model_dump(), "methods": [entry.portable() for entry in self.methods]}

    @model_validator(mode="before")
    @classmethod
    def _as_many_as_the_methods_want(cls, value: Any) -> Any:
        """Each method works on as many prompts of a task as it wants, where no number is named."""
        if not isinstance(value, Mapping) or "examples" in value or value.get("data") is not None:
            return value
        methods = value.get("methods", [*DEFAULT_METHODS])
        entries = [entry_fields(entry) for entry in methods] if isinstance(methods, list | tuple) else []
        if not entries or not all(isinstance(entry, Mapping) for entry in entries):
            return value
        wanted = [wanted_examples(entry.get("method")) or EXAMPLES_OF_A_TASK for entry in entries]
        if max(wanted) <= EXAMPLES_OF_A_TASK:
            return {**value, "examples": None}
        told = [{**entry, "examples": entry.get("examples") or n} for entry, n in zip(entries, wanted, strict=True)]
        return {**value, "examples": max(wanted), "methods": told}

    def _left_open(self, fields: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        wanted = [wanted_examples(entry.method) or EXAMPLES_OF_A_TASK for entry in self.methods]
        told = max(wanted) if max(wanted) > EXAMPLES_OF_A_TASK else None
        if not {"methods", "data"} & changes.keys() or self.examples != told:
            return fields
        entries = [
            {**entry, "examples": None if entry["examples"] == n else entry["examples"]}
            for entry, n in zip(fields["methods"], wanted, strict=True)
        ]
        return {**{name: value for name, value in fields.items() if name != "examples"}, "methods": entries}

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        check_names(self.methods)
        for entry in self.methods:
            if isinstance(entry.scores, Scores):
                raise InvalidValue(
                    f"a recipe names files: save the scores of {entry.name!r}, and give their path instead"
                )
        for size in (*self.edges, *([] if self.heads is None else [self.heads])):
            checked_size(size)
        if self.grid is not None:
            if self.reference == "none":
                raise InvalidValue("a grid of thresholds needs a reference; name one, or leave the grid out")
            for threshold, tau in product(self.grid.threshold, self.grid.tau):
                EAPThenACDC(threshold=threshold, tau=tau)
        return self


def usual_entries() -> list[Entry]:
    """The methods that are compared where none are named."""
    return [Entry(method=name, models=models) for name, models in DEFAULT_METHODS.items()]


def is_small(graph: Graph) -> bool:
    """Whether patching every edge alone takes no longer than a reader will wait."""
    return graph.n_edges <= MEASURED_UP_TO


def entries_on(graph: Graph, entries: Sequence[Entry]) -> list[Entry]:
    """The entries without those that are meant for small models, where this one is not; all, if none were left."""
    kept = [entry for entry in entries if entry.models == "all" or is_small(graph)]
    return kept or [*entries]


def check_names(entries: Iterable[Entry]) -> None:
    """ValueError if two entries have the same name, in tables or on disk."""
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.folder.lower() in seen:
            raise InvalidValue(f"two methods are called {entry.name!r}; give one of them a label of its own")
        seen[entry.folder.lower()] = entry.name


def sizes_on(graph: Graph, sizes: Sequence[Size]) -> tuple[int, ...]:
    """Numbers of edges, ascending, each once; a share is rounded, to one edge at least."""
    return tuple(sorted({count_of(size, graph.n_edges) for size in sizes}))


def with_options(entries: Sequence[Entry], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries as plain values, changed by options that are written `method.key`.

    `metric`, `values`, `ranking`, `examples`, `models` and `label` are fields of the entry, every other key an option of
    the method.
    """
    changed = [entry.model_dump() for entry in entries]
    for name, value in options.items():
        place, dot, key = name.rpartition(".")
        matching = [one for one, entry in zip(changed, entries, strict=True) if entry.name == place]
        if not dot or not matching:
            raise InvalidValue(
                f"--option {name}=… does not name a compared method; write it as in {entries[0].name}.{key}=…"
            )
        if key in ENTRY_FIELDS:
            matching[0][key] = value
        else:
            matching[0]["options"] = {**matching[0]["options"], key: value}
    return changed


def threshold_of(text: str) -> tuple[float, bool]:
    """The threshold after `exact:`, and whether it is a share of clean − corrupted.

    >>> threshold_of("exact:1%"), threshold_of("exact:0.05")
    ((0.01, True), (0.05, False))
    """
    value = text.partition(":")[2]
    share = share_in(value)
    try:
        number = float(value) if share is None else share
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise InvalidValue(
            f"the reference {text!r} needs a threshold above 0: exact:0.05 in units of the metric, "
            "or exact:1% of the difference between clean and corrupted"
        )
    return number, share is not None
