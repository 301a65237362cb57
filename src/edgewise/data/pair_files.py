"""Prompt pairs from files, the user's own or those of a data set on the Hugging Face hub: rows as Pairs (rows.py)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewise.data.bad_rows import BadRow, BadRows, sorted_out
from edgewise.data.columns import COLUMNS
from edgewise.data.data_sets import DataSet
from edgewise.data.rows import READERS, Row
from edgewise.errors import EdgewiseWarning, FileError, PairsError
from edgewise.pairs import Pairs
from edgewise.prompts.habits import with_warnings
from edgewise.store.disk import accessible
from edgewise.store.opening import read_bytes, understood

# So many rows may any file have, and one more for each of these bytes.
FREE_ROWS, BYTES_OF_A_ROW = 1 << 16, 4


def read_rows(source: str | os.PathLike[str], *, bad_rows: BadRows = "refuse", n: int | None = None) -> tuple[Row, ...]:
    """Read pairs as text from a file, or from a data set on the Hugging Face hub.

    `source`: a .jsonl, .json, .csv or .parquet file with the columns `clean`, `corrupted`, `correct` and, if there are
    any, `wrong`; or "owner/name:split". Several answers are a list, in CSV separated by `|`.
    `bad_rows`: "refuse", or "skip" to go on without rows that cannot be used, with a warning that counts them.
    `n`: how many pairs are wanted, if not all. Of a parquet file with far more rows than its size tells, only the first
    ones are read then, with a warning.

    Returns a tuple of Row. Raises FileError with the file, the lines, and what is wrong with each.
    """
    rows, _ = sorted_out(os.fspath(source), rows_and_faults(source, n=n), bad_rows, FileError)
    return tuple(rows)


def rows_and_faults(source: str | os.PathLike[str], *, n: int | None = None) -> tuple[Row | BadRow, ...]:
    """All rows of a file or a data set, good and bad; FileError, as of `read_rows`, for what ends the whole."""
    name = os.fspath(source)
    if Path(name).suffix.lower() in READERS:
        files = [Path(name)]
    else:
        with accessible(name):
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


def _rows_of(path: Path, n: int | None) -> Iterator[Row | BadRow]:
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
                message = f"{name}: only the first {most:,} rows are read, for {n:,} pairs"
                warnings.warn(message, EdgewiseWarning, stacklevel=2)
                return
            yield row


def to_pairs(
    rows: tuple[Row, ...],
    tokenizer: Any,
    name: str,
    *,
    n: int | None = None,
    bad_rows: BadRows = "refuse",
    **wording: Any,
) -> Pairs:
    """Turn rows of text into Pairs for a tokenizer.

    `rows`: rows from `read_rows`.
    `tokenizer`: the tokenizer of the model, `subject.tokenizer`.
    `name`: what messages call the data.
    `n`: how many rows to take, by default all.
    `bad_rows`: "refuse", or "skip" to leave out rows that do not fit, with a warning that counts them.
    `wording`: `bos` and `chat_template`, as in `Pairs.from_prompts`.

    Returns Pairs. Published rows that do not fit the tokenizer are left out in any case. Raises PairsError, with the lines
    and what is wrong with each, for any other rows that do not fit.
    """
    if tokenizer is None or not (bad_rows == "skip" or any(row.published for row in rows)):
        return _strict(rows[:n], tokenizer, name, wording)
    fitting, bad = list[Row](), list[BadRow]()
    seen, unfit, last = 0, 0, ""
    for row in rows:
        if n is not None and len(fitting) == n:
            break
        seen += 1
        found = _tried(tokenizer, row, name, wording) if row.published or bad_rows == "skip" else row
        if isinstance(found, Row):
            fitting.append(row)
        elif row.published:
            unfit, last = unfit + 1, found.problem
        else:
            bad.append(found)
    if not fitting and unfit:
        raise PairsError(f"{name}: no row fits this tokenizer; the last row: {last}")
    if unfit:
        warnings.warn(f"{name}: {unfit} of {seen} rows do not fit this tokenizer and are left out", EdgewiseWarning, 2)
    _, said = sorted_out(name, [*fitting, *bad], bad_rows, PairsError)
    pairs = _strict(tuple(fitting), tokenizer, name, wording)
    counts = {key: count for key, count in (("left_out", unfit), ("bad_rows", len(bad))) if count}
    return replace(pairs, source=with_warnings({**pairs.source, **counts}, said))


def _strict(rows: tuple[Row, ...], tokenizer: Any, name: str, wording: Mapping[str, Any]) -> Pairs:
    try:
        return _pairs(tokenizer, rows, wording)
    except PairsError as error:
        if tokenizer is not None:
            sorted_out(name, [_tried(tokenizer, row, name, wording) for row in rows], "refuse", PairsError)
        raise PairsError(f"{name}: {error}") from None


def _tried(tokenizer: Any, row: Row, name: str, wording: Mapping[str, Any]) -> Row | BadRow:
    """The row, or what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EdgewiseWarning)
            _pairs(tokenizer, (row,), wording)
    except PairsError as error:
        # On its own every row is number 0; the line says which one it is.
        said = str(error).replace("pair 0", "the pair", 1).replace("example 0", "the pair", 1)
        return BadRow(row.line, f"{name}, line {row.line}", said)
    return row


def _pairs(tokenizer: Any, rows: tuple[Row, ...], wording: Mapping[str, Any]) -> Pairs:
    columns = ([getattr(row, column) for row in rows] for column in COLUMNS)
    return Pairs.from_prompts(tokenizer, *columns, **wording)
