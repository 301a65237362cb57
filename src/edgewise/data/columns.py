"""What the columns of a file of pairs are called, here and in the data sets of other tools."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Iterable
from typing import Any

from edgewise.errors import EdgewiseWarning, FileError, UnknownName

COLUMNS, NEEDED_COLUMNS = ("clean", "corrupted", "correct", "wrong"), ("clean", "corrupted", "correct")
SPLIT_COLUMN = "split"
KNOWN_COLUMNS = (*COLUMNS, SPLIT_COLUMN)
# Columns of answers as token ids, as EAP-IG's data sets have them, and what auto-circuit's prompts are called.
TOKEN_IDS = {"correct_idx": "correct", "incorrect_idx": "wrong"}
OTHER_NAMES = {"corrupt": "corrupted", "answers": "correct", "wrong_answers": "wrong", **TOKEN_IDS}
# A column without a name numbers the rows.
INDEX = ""
# How alike a name must be to that of a column that is missing to be taken for a slip.
ALIKE = 0.75


def used_columns(given: Iterable[str], place: str) -> dict[str, str]:
    """Which of the columns that a row or a table has is which of ours; the others are named in a warning and left.

    FileError if a needed one is missing, or one is called almost what an optional one is.
    """
    names = [name for name in given if name != INDEX]
    used = {name: name for name in names if name in KNOWN_COLUMNS}
    used |= {ours: theirs for theirs, ours in OTHER_NAMES.items() if theirs in names and ours not in used}
    left = [name for name in names if name not in used.values() and name not in OTHER_NAMES]
    missing = [name for name in KNOWN_COLUMNS if name not in used]
    slips = [name for name in left if difflib.get_close_matches(name.lower(), missing, n=1, cutoff=ALIKE)]
    needed = [name for name in NEEDED_COLUMNS if name not in used]
    if left and (needed or slips):
        raise FileError(f"{place}: {UnknownName.of('column', (slips or left)[0], KNOWN_COLUMNS)}")
    if needed:
        raise FileError(f"{place}: the column {needed[0]!r} is missing; needed are {', '.join(NEEDED_COLUMNS)}")
    if left:
        file = place.rpartition(", ")[0]
        warnings.warn(f"{file}: columns that are not used: {', '.join(left)}", EdgewiseWarning, stacklevel=2)
    return used


def token_ids(value: Any, place: str) -> tuple[int, ...]:
    """The token ids in a cell: one, a list, or text of either, with `|` between several."""
    try:
        if isinstance(value, str):
            value = json.loads(value) if value.startswith("[") else [int(part) for part in value.split("|")]
        several = value if isinstance(value, list) else [value]
        if several and all(isinstance(one, int) and not isinstance(one, bool) for one in several):
            return tuple(several)
    except ValueError:
        pass
    raise FileError(f"{place} must be a token id or a list of them, not {value!r:.60}")
