"""Prompt pairs from files, the user's own or those of a data set on the Hugging Face hub: rows as Pairs (rows.py)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewise.data.columns import COLUMNS
from edgewise.data.data_sets import DataSet
from edgewise.data.rows import READERS, Row
from edgewise.errors import FileError, PairsError
from edgewise.pairs import Pairs
from edgewise.store.opening import read_bytes, understood

# So many rows may any file have, and one more for each of these bytes.
FREE_ROWS, BYTES_OF_A_ROW = 1 << 16, 4


def read_rows(source: str | os.PathLike[str], *, n: int | None = None) -> tuple[Row, ...]:
    """Read pairs as text from a file, or from a data set on the Hugging Face hub.

    `source`: a .jsonl, .json, .csv or .parquet file with the columns `clean`, `corrupted`, `correct` and, if there are
    any, `wrong`; or "owner/name:split". Several answers are a list, in CSV separated by `|`.
    `n`: how many pairs are wanted, if not all. Of a parquet file with far more rows than its size tells, only the first
    ones are read then, with a warning.

    Returns a tuple of Row. Raises FileError with the file, the line, and what is wrong with it.
    """
    name = os.fspath(source)
    if Path(name).suffix.lower() in READERS:
        files = [Path(name)]
    else:
        found = None if Path(name).is_file() else DataSet.of(name)
        if found is None:
            raise FileError(
                f"{name} cannot be read; give a {', '.join(READERS)} file, or a data set of the hub, as mib-bench/ioi"
            )
        files = found.files(tuple(READERS))
    rows = tuple(row for path in files for row in _rows_of(path, n))
    if not rows:
        raise FileError(f"{name} is empty: it has no pairs")
    return rows


def _rows_of(path: Path, n: int | None) -> Iterator[Row]:
    """The rows of one file, as many as its size can be thought to hold; of a parquet file a few bytes can claim millions."""
    name, data = os.fspath(path), read_bytes(path)
    most = max(FREE_ROWS + len(data) // BYTES_OF_A_ROW, n or 0)
    with understood(name):
        for count, row in enumerate(READERS[path.suffix.lower()](data, name)):
            if count == most and n is None:
                raise FileError(
                    f"{name} has more than {most:,} rows in {len(data):,} bytes; say how many are to be read"
                )
            if count == most:
                warnings.warn(f"{name}: only the first {most:,} rows are read, for {n:,} pairs", stacklevel=2)
                return
            yield row


def to_pairs(rows: tuple[Row, ...], tokenizer: Any, name: str, *, n: int | None = None, **wording: Any) -> Pairs:
    """Turn rows of text into Pairs for a tokenizer.

    `rows`: rows from `read_rows`.
    `tokenizer`: the tokenizer of the model, `subject.tokenizer`.
    `name`: what messages call the data.
    `n`: how many rows to take, by default all.
    `wording`: `bos` and `chat_template`, as in `Pairs.from_prompts`.

    Returns Pairs. Published rows that do not fit the tokenizer are left out, with a warning that counts them. Raises
    PairsError, with the line, for any other row that does not fit.
    """
    if tokenizer is None or not any(row.published for row in rows):
        return _strict(rows[:n], tokenizer, name, wording)
    fitting: list[Row] = []
    seen, last = 0, ""
    for row in rows:
        if n is not None and len(fitting) == n:
            break
        seen, problem = seen + 1, _problem(tokenizer, row, wording) if row.published else ""
        last = problem or last
        fitting += [] if problem else [row]
    if not fitting:
        raise PairsError(f"{name}: no row fits this tokenizer; the last row: {last}")
    if left_out := seen - len(fitting):
        warnings.warn(f"{name}: {left_out} of {seen} rows do not fit this tokenizer and are left out", stacklevel=2)
    pairs = _strict(tuple(fitting), tokenizer, name, wording)
    return replace(pairs, source={**pairs.source, **({"left_out": left_out} if left_out else {})})


def _strict(rows: tuple[Row, ...], tokenizer: Any, name: str, wording: Mapping[str, Any]) -> Pairs:
    try:
        return _pairs(tokenizer, rows, wording)
    except PairsError as error:
        if tokenizer is not None:
            _blame_line(tokenizer, rows, name, wording)
        raise PairsError(f"{name}: {error}") from None


def _problem(tokenizer: Any, row: Row, wording: Mapping[str, Any]) -> str:
    """What is wrong with a row, in one line; nothing if it fits."""
    try:
        _pairs(tokenizer, (row,), wording)
    except PairsError as error:
        return str(error).splitlines()[0]
    return ""


def _pairs(tokenizer: Any, rows: tuple[Row, ...], wording: Mapping[str, Any]) -> Pairs:
    columns = ([getattr(row, column) for row in rows] for column in COLUMNS)
    return Pairs.from_prompts(tokenizer, *columns, **wording)


def _blame_line(tokenizer: Any, rows: tuple[Row, ...], name: str, wording: Mapping[str, Any]) -> None:
    for row in rows:
        try:
            _pairs(tokenizer, (row,), wording)
        except PairsError as error:
            # On its own every row is number 0; the line says which one it is.
            message = str(error).replace("pair 0", "the pair", 1).replace("example 0", "the pair", 1)
            raise PairsError(f"{name}, line {row.line}: {message}") from None
