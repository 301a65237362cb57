"""Options that several commands have, and how the texts people give for options are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise.errors import InvalidValue

Model = Annotated[
    str | None, typer.Option(help="see edgewise list models; a hub id or a local folder [default: the task's]")
]
Task = Annotated[str | None, typer.Option(help="where prompts come from: see edgewise list tasks [default: ioi]")]
Data = Annotated[
    Path | None,
    typer.Option(help="pairs instead of a task: a .jsonl, .json, .csv or .parquet file, or a hub id, owner/name:split"),
]
Ablation = Annotated[str | None, typer.Option(help="what replaces a write that is not kept [default: corrupted]")]
Examples = Annotated[int | None, typer.Option(help="how many pairs [default: 64 of a task, all of a file]")]
BatchSize = Annotated[int | None, typer.Option(help="pairs per batch [default: 8]")]
Seed = Annotated[int | None, typer.Option(help="seed of everything random [default: 0]")]
Corruption = Annotated[str | None, typer.Option(help="how a task corrupts its prompts [default: the published way]")]
Bos = Annotated[
    str | None,
    typer.Option(help="a begin token before each prompt: yes, no, or auto, as the tokenizer has it [default: auto]"),
]
ChatTemplate = Annotated[
    str | None,
    typer.Option(
        help="the tokenizer's own; assistant: each prompt begins the model's turn, user: it is the user's [default: none]"
    ),
]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, float16 or float64 [default: that of the model]")]
Device = Annotated[
    str | None,
    typer.Option(
        help="where to compute, for example cpu or cuda [default: the best there is; cpu for models that come with edgewise]"
    ),
]
Kv = Annotated[
    str | None, typer.Option(help="ungrouped: k and v readers for every query head, not shared ones [default: native]")
]
Adapter = Annotated[
    str | None, typer.Option(help="the folder or hub id of a LoRA adapter, put on the model unmerged [default: none]")
]
MemoryLimit = Annotated[
    str | None, typer.Option(help="how much memory scoring may take, model included, as in 2GB [default: any]")
]
Workers = Annotated[int | None, typer.Option(help="processes on this machine that share the work [default: none]")]
Dask = Annotated[
    str | None, typer.Option(help="the address of a dask scheduler whose workers share the work, as in tcp://host:8786")
]
ScoresFile = Annotated[Path | None, typer.Option(help="scores for a circuit that is a file of its own")]
ExactFile = Annotated[Path | None, typer.Option(help="scores by the method exact: measured effects of the edges")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors")]
Source = Annotated[Path, typer.Argument(help="a run folder, or a file that edgewise wrote", show_default=False)]


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
            raise InvalidValue(f"--option {pair!r}: write each option once, as key=value")
        found[key] = text
    return found


def options_of_methods(texts: dict[str, str], methods: dict[str, str], fields: tuple[str, ...]) -> dict[str, Any]:
    """Values of options that are written `label.key`, read by their types; `methods` has the method of each label.

    What is one of `fields`, or belongs to no label, is taken as JSON where it is JSON.
    """
    from edgewise.methods import parsed_options

    found: dict[str, Any] = {}
    for name, text in texts.items():
        label, _, key = name.rpartition(".")
        if label in methods and key not in fields:
            found[name] = parsed_options(methods[label], {key: text})[key]
        else:
            try:
                found[name] = json.loads(text)
            except ValueError:
                found[name] = text
    return found


def numbers(name: str, text: str) -> float | list[float]:
    """One number, or several with commas between."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidValue(f"{name} {text!r}: give a number, or several with commas between") from None
    return found if len(found) > 1 else found[0]


def sizes(text: str) -> list[int | str]:
    """Numbers of edges, and shares of them, separated by commas."""
    return [int(size) if size.isdecimal() else size for size in (part.strip() for part in text.split(","))]


def listed(text: str) -> list[str]:
    """Names separated by commas; none of them for `none`."""
    return [] if text == "none" else [name.strip() for name in text.split(",")]
