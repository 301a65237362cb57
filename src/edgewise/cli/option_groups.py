"""Options that several commands have together, each group as one parameter of a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar, final, get_type_hints

from edgewise.cli.options import (
    Adapter,
    BatchSize,
    Bos,
    ChatTemplate,
    Corruption,
    Data,
    Device,
    DeviceMap,
    Dtype,
    ExactFile,
    Examples,
    HeldOut,
    Kv,
    Model,
    ScoresFile,
    Seed,
    SkipBadRows,
    Split,
    Task,
    device_map_of,
    those_given,
)

R = TypeVar("R")


@final
@dataclass(frozen=True)
class ModelAndPrompts:
    """Which model is asked, and which prompts."""

    model: Model = None
    task: Task = None
    data: Data = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that were given, by name."""
        return those_given(vars(self), " ".join(vars(self)))


@final
@dataclass(frozen=True)
class Conditions:
    """How many pairs there are, how they are made and worded, and how the model is loaded."""

    examples: Examples = None
    held_out: HeldOut = None
    split: Split = None
    batch_size: BatchSize = None
    seed: Seed = None
    corruption: Corruption = None
    bos: Bos = None
    chat_template: ChatTemplate = None
    skip_bad_rows: SkipBadRows = None
    dtype: Dtype = None
    device: Device = None
    device_map: DeviceMap = None
    kv: Kv = None
    adapter: Adapter = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that were given, by name."""
        given = those_given(vars(self), " ".join(vars(self)))
        if self.skip_bad_rows is not None:
            given["bad_rows"] = "skip" if given.pop("skip_bad_rows") else "refuse"
        return given if self.device_map is None else {**given, "device_map": device_map_of(self.device_map)}


@final
@dataclass(frozen=True)
class FilesBeside:
    """What a circuit's picture or export takes from other files."""

    scores: ScoresFile = None
    exact: ExactFile = None


GROUPS: Final = (ModelAndPrompts, Conditions, FilesBeside)


def grouped(command: Callable[..., R]) -> Callable[..., R]:
    """The command with an option for each field of its parameters that are groups, in their place."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if hint in GROUPS}

    @functools.wraps(command)
    def flat(**options: Any) -> R:
        values = {
            name: group(**{field.name: options.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        return command(**options, **values)

    signature = inspect.signature(command)
    shown = [
        option
        for parameter in signature.parameters.values()
        for option in (_options(groups[parameter.name]) if parameter.name in groups else [parameter])
    ]
    shown = [option.replace(annotation=hints.get(option.name, option.annotation)) for option in shown]
    flat.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    flat.__annotations__ = {option.name: option.annotation for option in shown}
    return flat


def _options(group: type[Any]) -> list[inspect.Parameter]:
    """A parameter for each field of a group."""
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, kind, default=field.default, annotation=hints[field.name])
        for field in fields(group)
    ]
