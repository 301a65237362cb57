"""Options that several commands have, and how the texts people give for options are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise.errors import InvalidValue
from edgewise.option_types import parsed

# The headings of options in the help of a command.
MODEL_OPTIONS, PROMPT_OPTIONS, METHOD_OPTIONS, CIRCUIT_OPTIONS = "Model", "Prompts", "Method", "Circuit"
OUTPUT_OPTIONS = "Output"

Model = Annotated[
    str | None,
    typer.Option(
        help="see edgewise list models; or a hub id, a folder or a GGUF file [default: the task's]",
        rich_help_panel=MODEL_OPTIONS,
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="where prompts come from: see edgewise list tasks [default: ioi]", rich_help_panel=PROMPT_OPTIONS
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="pairs instead of a task: a .jsonl, .json, .csv or .parquet file, or a hub id, owner/name:split",
        rich_help_panel=PROMPT_OPTIONS,
    ),
]
Ablation = Annotated[
    str | None,
    typer.Option(help="what edges that are not kept carry [default: corrupted]", rich_help_panel=METHOD_OPTIONS),
]
Examples = Annotated[
    int | None,
    typer.Option(help="how many pairs [default: 64 of a task, all of a file]", rich_help_panel=PROMPT_OPTIONS),
]
HeldOut = Annotated[
    int | None,
    typer.Option(
        help="judge circuits on so many pairs that no method has seen; 0: on those they are found on "
        "[default: 128 of a task, all split off from a file]",
        rich_help_panel=PROMPT_OPTIONS,
    ),
]
Split = Annotated[
    float | None,
    typer.Option(
        help="the share of a file's rows to hold out, no prompt on both sides; 0: none "
        "[default: by its column split, else 0.2]",
        rich_help_panel=PROMPT_OPTIONS,
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(help="how many pairs run at once [default: 8]", rich_help_panel=METHOD_OPTIONS)
]
Seed = Annotated[
    int | None, typer.Option(help="the seed of everything random [default: 0]", rich_help_panel=PROMPT_OPTIONS)
]
Corruption = Annotated[
    str | None,
    typer.Option(help="how a task corrupts its prompts [default: the published way]", rich_help_panel=PROMPT_OPTIONS),
]
Bos = Annotated[
    str | None,
    typer.Option(
        help="a begin token before each prompt: yes, no, or auto (the tokenizer decides) [default: auto]",
        rich_help_panel=PROMPT_OPTIONS,
    ),
]
ChatTemplate = Annotated[
    str | None,
    typer.Option(
        help="assistant: prompts begin the model's turn; user: they are the user's turn [default: none]",
        rich_help_panel=PROMPT_OPTIONS,
    ),
]
SkipBadRows = Annotated[
    bool | None,
    typer.Option(
        "--skip-bad-rows/--refuse-bad-rows",
        help="go on without rows of a file that cannot be used; they are counted [default: refused]",
        show_default=False,
        rich_help_panel=PROMPT_OPTIONS,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16, float16 or float64 [default: the model's]", rich_help_panel=MODEL_OPTIONS),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="such as cpu or cuda [default: the best there is; cpu for models that come with edgewise]",
        rich_help_panel=MODEL_OPTIONS,
    ),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(
        help="auto: spread over all GPUs, the CPU's memory and the disk; or a JSON object of parts [default: one device]",
        rich_help_panel=MODEL_OPTIONS,
    ),
]
Kv = Annotated[
    str | None,
    typer.Option(
        help="ungrouped: a k and a v reader for every query head, not shared ones [default: native]",
        rich_help_panel=MODEL_OPTIONS,
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        help="a LoRA adapter to put on the model, unmerged: a folder or hub id [default: none]",
        rich_help_panel=MODEL_OPTIONS,
    ),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        help="how much memory the method may use, model included, such as 2GB; fewer pairs then run at once [default: any]",
        rich_help_panel=MODEL_OPTIONS,
    ),
]
Products = Annotated[
    str | None,
    typer.Option(
        help="how a GPU rounds factors of the products that make scores: float32 (not) or tf32 [default: tf32]",
        rich_help_panel=MODEL_OPTIONS,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(help="processes on this machine that share the work [default: none]", rich_help_panel=OUTPUT_OPTIONS),
]
Dask = Annotated[
    str | None,
    typer.Option(
        help="a dask scheduler whose workers share the work, such as tcp://host:8786 [default: none]",
        rich_help_panel=OUTPUT_OPTIONS,
    ),
]
ScoresFile = Annotated[Path | None, typer.Option(help="the scores of a circuit, if they are in another file")]
ExactFile = Annotated[Path | None, typer.Option(help="measured effects of the edges: scores by the method exact")]
AsJson = Annotated[
    bool, typer.Option("--json", help="print one JSON document and nothing else", rich_help_panel=OUTPUT_OPTIONS)
]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors", rich_help_panel=OUTPUT_OPTIONS)]
Source = Annotated[Path, typer.Argument(help="a run folder, or a file that edgewise wrote", show_default=False)]


def device_map_of(text: str) -> str | dict[str, int | str]:
    """A device map as text: the name of one, or a JSON object."""
    if not text.lstrip().startswith("{"):
        return text
    from edgewise.store.json_text import loaded

    try:
        return loaded(text)
    except ValueError as error:
        raise InvalidValue(f"--device-map {text!r} is no JSON object: {error}") from None


def those_given(values: dict[str, Any], names: str) -> dict[str, Any]:
    """The options among `values` that were given, of those in `names`; paths as text."""
    given = ((name, values[name]) for name in names.split() if values[name] is not None)
    return {name: os.fspath(value) if isinstance(value, Path) else value for name, value in given}


def key_values(pairs: list[str]) -> dict[str, str]:
    """`key=value` strings as a mapping."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key or key in found:
            raise InvalidValue(f"--option {pair!r} is not usable; write each option once, as key=value")
        found[key] = text
    return found


def options_of_methods(texts: dict[str, str], methods: dict[str, str], fields: tuple[str, ...]) -> dict[str, Any]:
    """Values of options that are written `label.key`, read by their types; `methods` has the method of each label.

    What is one of `fields`, or belongs to no label, is taken as JSON where it is JSON.
    """
    from edgewise.methods import parsed_options
    from edgewise.store.json_text import loaded

    found: dict[str, Any] = {}
    for name, text in texts.items():
        label, _, key = name.rpartition(".")
        if label in methods and key not in fields:
            found[name] = parsed_options(methods[label], {key: text})[key]
        else:
            try:
                found[name] = loaded(text)
            except ValueError:
                found[name] = text
    return found


def numbers(name: str, text: str) -> float | list[float]:
    """One number, or several with commas between."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidValue(f"{name} {text!r} is not a number, nor several with commas between") from None
    return found if len(found) > 1 else found[0]


def edges_or_sizes(text: str | None) -> dict[str, Any]:
    """The fields of a recipe that say how many edges: one number, or several with commas between."""
    if text is None:
        return {"edges": None, "sizes": None}
    found = sizes(text)
    return {"edges": None, "sizes": tuple(found)} if len(found) > 1 else {"edges": found[0], "sizes": None}


def sizes(text: str) -> list[int | str]:
    """Numbers of edges, and shares of them, separated by commas; InvalidValue for what is neither."""
    return [_size(part.strip(), "edges") for part in text.split(",")]


def size(text: str | None, level: str = "edges") -> int | str | None:
    """How many edges, nodes or neurons, or a share of them, if it was given."""
    return None if text is None else _size(text.strip(), level)


def _size(text: str, level: str) -> int | str:
    from edgewise.arguments import checked_size

    try:
        number = parsed(int, text)
    except ValueError:
        return checked_size(text, level)
    return checked_size(number, level)


def listed(text: str) -> list[str]:
    """Names separated by commas; none of them for `none`."""
    return [] if text == "none" else [name.strip() for name in text.split(",")]
