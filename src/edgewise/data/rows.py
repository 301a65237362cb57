"""The rows of a file of prompt pairs: JSONL, JSON, CSV or parquet.

Columns: `clean`, `corrupted`, `correct` and, if there are any, `wrong`. Answers are as they continue the prompt,
leading space included. Several answers are a list, in CSV separated by `|`. A column `split` may say which rows are held
out. Names that other tools give these columns, answers as token ids (`correct_idx`, `incorrect_idx`) and a list under
`prompts` are known too (columns.py). Rows of the MIB benchmark's data sets are read as they are published, from all but CSV.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, final

from edgewise.data.bad_rows import BadRow, rows_or_faults
from edgewise.data.columns import SPLIT_COLUMN, TOKEN_IDS, token_ids, used_columns
from edgewise.data.mib_rows import columns, is_mib
from edgewise.errors import FileError

# What the column says of rows that circuits are found on, and of those they are judged on.
FOUND_ON, HELD_OUT = ("train", "training"), ("held-out", "test", "validation", "valid", "dev", "eval")


@final
@dataclass(frozen=True)
class Row:
    """One pair as text, and the line of the file it comes from.

    `line`: the number of the line, from 1.
    `clean`, `corrupted`: the two prompts.
    `correct`, `wrong`: the answers, each with its leading space, or as a token id.
    `published`: whether it belongs to a data set made for all tokenizers, whose rows are left out where they do not
    fit.
    `held_out`: whether the column `split` holds it out; None where there is no such column.
    """

    line: int
    clean: str
    corrupted: str
    correct: tuple[str | int, ...]
    wrong: tuple[str | int, ...]
    published: bool = False
    held_out: bool | None = None


# -- JSON, JSONL and parquet ------------------------------------------------------------------------------------------


def _jsonl(data: bytes, name: str) -> Iterator[Row | BadRow]:
    for number, line in enumerate(_text(data, name).split("\n"), 1):
        if line.strip():
            place = f"{name}, line {number}"
            yield from rows_or_faults(number, place, lambda: _structured(_parsed(line, place), number, place))  # noqa: B023


def _json(data: bytes, name: str) -> Iterator[Row | BadRow]:
    values = _parsed(_text(data, name), name)
    if isinstance(values, dict) and isinstance(values.get("prompts"), list):
        values = values["prompts"]
    if not isinstance(values, list):
        raise FileError(f"{name} holds a JSON {type(values).__name__}; a .json file of pairs must be a list of objects")
    for number, value in enumerate(values, 1):
        yield from _structured_or_bad(value, number, f"{name}, row {number}")


def _parquet(data: bytes, name: str) -> Iterator[Row | BadRow]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise FileError(
            f"{name}: reading parquet needs pyarrow; install it with: pip install 'edgewise[data]'"
        ) from None
    try:
        values = parquet.read_table(io.BytesIO(data)).to_pylist()
    except (OSError, ValueError) as error:
        raise FileError(f"{name} is not a parquet file ({str(error).strip().splitlines()[0]:.80})") from None
    for number, value in enumerate(values, 1):
        yield from _structured_or_bad(value, number, f"{name}, row {number}")


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FileError(f"{name}, line {line}: not UTF-8 text; save the file as UTF-8") from None


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise FileError(f"{place}: not JSON ({detail})") from None


def _structured_or_bad(value: Any, number: int, place: str) -> Iterator[Row | BadRow]:
    yield from rows_or_faults(number, place, lambda: _structured(value, number, place))


def _structured(value: Any, number: int, place: str) -> Iterator[Row]:
    """The row that an object with columns makes; none for one of MIB without a counterfactual."""
    if not isinstance(value, dict):
        raise FileError(
            f'{place}: this is a JSON {type(value).__name__}; each row must be an object like {{"clean": …}}'
        )
    if is_mib(value):
        pair = columns(value, place)
        if pair is not None:
            yield replace(_row(number, pair, place, _listed, {name: name for name in pair}), published=True)
        return
    yield _row(number, value, place, _listed, used_columns(value, place))


def _listed(value: Any, place: str) -> tuple[str, ...]:
    answers = [value] if isinstance(value, str) else value
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise FileError(f"{place} must be a string or a list of strings, not {value!r:.60}")
    return tuple(answers)


# -- CSV --------------------------------------------------------------------------------------------------------------


def _csv(data: bytes, name: str) -> Iterator[Row | BadRow]:
    reader = csv.reader(io.StringIO(_text(data, name), newline=""), strict=True)
    header, used = list[str](), dict[str, str]()
    before = 0
    try:
        for fields in reader:
            # A quoted field may span lines: a row stands where it begins.
            line, before = before + 1, reader.line_num
            place = f"{name}, line {line}"
            if not fields:
                continue
            if not header:
                header, used = _header(fields, place)
                continue
            yield from rows_or_faults(line, place, lambda: [_fields(line, fields, header, place, used)])  # noqa: B023
    except csv.Error as error:
        raise FileError(f"{name}, line {reader.line_num}: not CSV ({error})") from None


def _fields(line: int, fields: list[str], header: list[str], place: str, used: dict[str, str]) -> Row:
    """The row that the fields of a line make."""
    if len(fields) != len(header):
        raise FileError(f"{place}: this row has {len(fields)} fields for {len(header)} columns")
    return _row(line, dict(zip(header, fields, strict=True)), place, _separated, used)


def _header(fields: list[str], place: str) -> tuple[list[str], dict[str, str]]:
    """The names of the columns, and which of them are used."""
    names = [field.strip() for field in fields]
    used = used_columns(dict.fromkeys(names), place)
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if repeated:
        raise FileError(f"{place}: the column {repeated[0]!r} appears twice")
    return names, used


def _separated(value: str, place: str) -> tuple[str, ...]:
    return tuple(value.split("|")) if value else ()


# -- both -------------------------------------------------------------------------------------------------------------


def _row(
    number: int,
    given: Mapping[str, Any],
    place: str,
    answers: Callable[[Any, str], tuple[str, ...]],
    used: Mapping[str, str],
) -> Row:
    """The row that columns make; `used`: which of them is which of ours."""
    value = {ours: given[theirs] for ours, theirs in used.items()}
    for column in ("clean", "corrupted"):
        if not isinstance(value[column], str) or not value[column]:
            raise FileError(f"{place}: {column!r} must be text, not {value[column]!r:.60}")
    sides = dict[str, tuple[str | int, ...]]()
    for side in ("correct", "wrong"):
        cell, read = value.get(side), token_ids if used.get(side) in TOKEN_IDS else answers
        sides[side] = () if cell in (None, "") else read(cell, f"{place}: {used[side]!r}")
    if not sides["correct"] or not all(answer != "" for side in sides.values() for answer in side):
        raise FileError(f"{place}: an answer is empty; 'correct' needs at least one, with its leading space")
    held_out = _is_held_out(value[SPLIT_COLUMN], place) if SPLIT_COLUMN in value else None
    return Row(number, value["clean"], value["corrupted"], sides["correct"], sides["wrong"], held_out=held_out)


def _is_held_out(value: Any, place: str) -> bool:
    name = str(value).strip().lower().replace("_", "-")
    if name not in (*FOUND_ON, *HELD_OUT):
        raise FileError(
            f"{place}: {SPLIT_COLUMN!r} is {value!r:.60}; it must be {' or '.join((FOUND_ON[0], *HELD_OUT[:2]))}"
        )
    return name in HELD_OUT


READERS: dict[str, Callable[[bytes, str], Iterator[Row | BadRow]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
}
