"""Splits: which rows of a file circuits are found on, and which are held out to judge them.

Rows that share a prompt, clean or corrupted, stay on one side: nothing a circuit is judged on was seen when it was found.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from edgewise.data.rows import Row
from edgewise.errors import InvalidValue
from edgewise.prompts.sharing import sharing

# A share of the rows, or: as the file says by a column, else USUAL_SHARE of a file with enough rows, else none.
Share = float | Literal["auto"]
USUAL_SHARE, ENOUGH_GROUPS = 0.2, 10


@final
@dataclass(frozen=True)
class Split:
    """The rows of the two sides, each in the order of the file."""

    found_on: tuple[Row, ...]
    held_out: tuple[Row, ...] = ()


def split_rows(rows: Sequence[Row], share: Share, seed: int, name: str) -> Split:
    """The two sides of the rows of a file called `name`; which rows are held out follows from the seed.

    InvalidValue for a share that leaves nothing on one side, or a column that puts a prompt on both.
    """
    groups = sharing([(row.clean, row.corrupted) for row in rows])
    if share != "auto":
        return _drawn(rows, groups, share, seed, name)
    if any(row.held_out is not None for row in rows):
        return _by_column(rows, groups, name)
    return _drawn(rows, groups, USUAL_SHARE, seed, name) if len(groups) >= ENOUGH_GROUPS else Split(tuple(rows))


def _drawn(rows: Sequence[Row], groups: list[list[int]], share: float, seed: int, name: str) -> Split:
    """Groups in a random order are held out until they hold that share of the rows; both sides get one at least."""
    if len(groups) < 2:
        raise InvalidValue(
            f"{name}: a split leaves nothing to find circuits on, since all rows share prompts; give --split 0"
        )
    order = random.Random(f"split/{seed}").sample(range(len(groups)), len(groups))
    chosen: set[int] = set()
    for number in order[:-1]:
        if chosen and len(chosen) + len(groups[number]) / 2 > share * len(rows):
            break
        chosen.update(groups[number])
    return _sides(rows, chosen)


def _by_column(rows: Sequence[Row], groups: list[list[int]], name: str) -> Split:
    for group in groups:
        sides = {bool(rows[number].held_out): rows[number].line for number in group}
        if len(sides) == 2:
            raise InvalidValue(
                f"{name}: lines {sides[False]} and {sides[True]} share a prompt, but only one of them is held out; put "
                "both on one side, or give --split with a share instead of the column"
            )
    split = _sides(rows, {number for number, row in enumerate(rows) if row.held_out})
    if not split.found_on:
        raise InvalidValue(f"{name}: its column 'split' holds every row out; nothing is left to find circuits on")
    return split


def _sides(rows: Sequence[Row], held: set[int]) -> Split:
    numbered = list(enumerate(rows))
    return Split(
        tuple(row for number, row in numbered if number not in held),
        tuple(row for number, row in numbered if number in held),
    )
