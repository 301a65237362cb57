"""Recipe: everything a run depends on, as one frozen and strict value that goes to a file and comes back."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, final

from pydantic import Field, PlainValidator, ValidationError, model_validator

from edgewise.data.bad_rows import BadRows
from edgewise.engine.tiling import Products
from edgewise.errors import InvalidValue
from edgewise.methods import METHODS
from edgewise.models.subject import Subject
from edgewise.prompts.tokens import Begin, Chat
from edgewise.runs.asked_sizes import ASKED_SIZES, counted, read_sizes
from edgewise.runs.portable import NOTHING_HELD_OUT, RECIPE_FILE, Portable, without_files
from edgewise.store.schema import first_problem
from edgewise.tasks import TASKS

__all__ = ["NOTHING_HELD_OUT", "RECIPE_FILE", "Recipe", "Setting", "wanted_examples"]

RECIPE = "edgewise/recipe"
TASK, MODEL, METHOD = "ioi", "nano", "eap-ig"
# How many prompts a task draws, unless a method wants more.
EXAMPLES_OF_A_TASK = 64


def _held_out(value: Any) -> Any:
    if value in (None, "auto") or (type(value) is int and value >= 0):
        return value
    raise ValueError("must be a number of pairs, 0 for none, or 'auto'")


def _split(value: Any) -> Any:
    if value is None or value == "auto" or (type(value) in (int, float) and 0 <= value < 1):
        return value
    raise ValueError("must be a share of at least 0 and below 1, such as 0.2, or 'auto'")


class Setting(Portable, ABC):
    """What every kind of run depends on: a model, prompts, and how the model is measured on them.

    Prompts come from a `task`, which brings its own `model` unless another is named, or from a file of pairs (`data`), not
    both. `metric`, `corruption` and `examples` may be left open: the task's own metric and corruption, 64 examples of a
    task or all of a file. `held_out`: on how many further pairs, that no method has seen, circuits are judged; "auto": 128
    that a task draws, or as many as it can, and all that are split off from a file; 0: none, so that circuits are judged on
    the pairs they were found on. `split`: the share of a file's rows that is held out, never with a prompt on both sides;
    "auto": as its column `split` says, else a fifth of a file that has enough rows; 0: none. `bad_rows`: whether rows of a
    file that cannot be used are refused, or skipped, counted and warned of. `kv="ungrouped"` gives every
    query head k and v readers of its own. `adapter`: the folder or hub id of a LoRA adapter that is put on the model.
    `device_map`, instead of `device`, spreads the model over several. Build one from outside values with `of`, from a file
    with `read`.
    """

    model: str = MODEL
    task: str | None = None
    data: str | None = None
    metric: str | None = None
    ablation: str = "corrupted"
    examples: int | None = Field(default=None, ge=1)
    held_out: Annotated[int | Literal["auto"] | None, PlainValidator(_held_out)] = "auto"
    split: Annotated[int | float | Literal["auto"] | None, PlainValidator(_split)] = "auto"
    batch_size: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    corruption: str | None = None
    bos: Begin = "auto"
    chat_template: Chat = "none"
    bad_rows: BadRows = "refuse"
    dtype: str | None = None
    device: str | None = None
    device_map: str | dict[str, int | str] | None = None
    kv: Literal["native", "ungrouped"] = "native"
    adapter: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if value.get("task") is None and value.get("data") is None:
            value = {**value, "task": TASK}
        return {"model": _model_of(value.get("task")), **value}

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.task is not None and self.data is not None:
            raise ValueError("give a task or a file of data, not both")
        if self.data is not None and self.corruption is not None:
            raise ValueError("a file of data holds its own corrupted prompts; corruption is for tasks")
        if self.device is not None and self.device_map is not None:
            raise ValueError("give a device or a device map, not both: a map says where all parts of the model lie")
        if self.task is not None and self.split not in (None, 0, "auto"):
            raise ValueError("a split is of a file's rows; a task draws prompts to hold out: give held_out")
        return self

    @classmethod
    def of(cls, /, **fields: Any) -> Self:
        """The recipe with these fields; InvalidValue, in one sentence, if they make none."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidValue(f"the recipe is not usable: {first_problem(error, cls)}") from None

    def with_changes(self, /, **changes: Any) -> Self:
        """The recipe with some fields changed; a new task takes the place of data, and the other way round.

        A model that is the task's own gives way to that of a new task.
        """
        fields = self.model_dump()
        if {"task", "data"} & changes.keys() and self.model == _model_of(self.task):
            del fields["model"]
        fields = self._left_open(fields, changes)
        if "task" in changes:
            fields["data"] = None
        if "data" in changes:
            fields["task"] = fields["corruption"] = None
        for name, other in (("device", "device_map"), ("device_map", "device")):
            if changes.get(name) is not None:
                fields[other] = None
        return self.of(**{**fields, **changes})

    def _left_open(self, fields: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """The fields without those whose values follow from others that change."""
        return fields

    @property
    def wording(self) -> dict[str, Any]:
        """What stands before and around the prompts, as `Task.pairs` and `Pairs.from_prompts` take it."""
        return {"bos": self.bos, "chat_template": self.chat_template}

    @property
    def prompts(self) -> str:
        """The task's name, or that of the file of data without folder and suffix."""
        return self.task if self.task is not None else Path(self.data or "").stem


@final
class Recipe(Setting):
    """A run of one method: which model, which prompts, which method, how large a circuit.

    Sizes are numbers, or shares of all such as "10%". `sizes` instead of `edges` asks for circuits of several numbers of
    edges, rising or falling, from one run; its circuit is the largest. `nodes` or `neurons` asks for a circuit of so many
    heads and MLPs, or neurons; without a curve. `faithfulness`, in the place of a size, asks for the smallest circuit of the
    sizes tried that keeps this share of the reported metric, on held-out pairs where there are any; "auto": 0.85 of it, of a
    method that scores edges, and a tenth of all edges where no size tried keeps so much, or of another method that can be
    told a size. `curve` is at how many sizes, besides its own, the circuit of a method that scores edges is evaluated.
    `stability` is how many times the examples are drawn again, to say how much of the circuit is their accident; 0 for never.
    `options` are those of the method. `memory_limit` bounds the memory of the method, and changes nothing about the result.
    `products` says how a GPU rounds the factors of products that make scores: "float32" not at all, "tf32" to ten bits.
    """

    document: ClassVar[str] = RECIPE
    before: ClassVar[Mapping[str, Any]] = {**NOTHING_HELD_OUT, "faithfulness": None}

    @model_validator(mode="before")
    @classmethod
    def _as_many_as_the_method_wants(cls, value: Any) -> Any:
        value = read_sizes(value) if isinstance(value, Mapping) else value
        if not isinstance(value, Mapping) or "examples" in value or value.get("data") is not None:
            return value
        return {**value, "examples": wanted_examples(value.get("method", METHOD))}

    method: str = METHOD
    edges: int | str | None = None
    sizes: tuple[int | str, ...] | None = None
    nodes: int | str | None = None
    neurons: int | str | None = None
    faithfulness: float | Literal["auto"] | None = "auto"
    ranking: Literal["absolute", "signed"] = "absolute"
    curve: int = Field(default=6, ge=0)
    stability: int = Field(default=0, ge=0)
    memory_limit: str | None = None
    products: Products | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if sum(vars(self)[name] is not None for name in ASKED_SIZES) > 1:
            raise ValueError("give the number of edges, of nodes or of neurons, but only one of them")
        if self.faithfulness not in (None, "auto") and any(vars(self)[name] is not None for name in ASKED_SIZES):
            raise ValueError("give a size, or the faithfulness to keep, not both")
        return self

    def _left_open(self, fields: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        if {"method", "data"} & changes.keys() and self.examples == wanted_examples(self.method):
            del fields["examples"]
        return fields

    def portable(self) -> dict[str, Any]:
        return {**self.model_dump(), "options": without_files(self.options)}

    @property
    def level(self) -> Literal["edges", "nodes", "neurons"]:
        """What is selected."""
        return "neurons" if self.neurons is not None else "nodes" if self.nodes is not None else "edges"

    @property
    def size(self) -> int | str | None:
        """How many of them, or which share; None where this is not said, for several sizes, and for a faithfulness."""
        return {"edges": self.edges, "nodes": self.nodes, "neurons": self.neurons}[self.level]

    def on(self, subject: Subject) -> Recipe:
        """The recipe with shares as the numbers that they are of this model; InvalidValue for more than it has."""
        return self.model_copy(update=counted(self.model_dump(), subject))


def wanted_examples(method: Any) -> int | None:
    """How many prompts a method wants a task to draw; None for the usual number, and for a name that is no method's."""
    return METHODS[method].examples if isinstance(method, str) and method in METHODS else None


def _model_of(task: Any) -> str:
    """The model a task is about; the embedded one for data, and for a name that is no task's, refused later."""
    return TASKS[task].model if isinstance(task, str) and task in TASKS else MODEL
