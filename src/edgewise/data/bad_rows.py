"""Rows of a file that cannot be used: all are listed in one message, or left out, counted and warned of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, final

from edgewise.errors import EdgewiseError, FileError
from edgewise.prompts.habits import warn_of

T = TypeVar("T")
# What is done about bad rows.
BadRows = Literal["refuse", "skip"]
MOST_LISTED, MOST_WARNED_OF, ROOM_FOR_ROWS, LEAST_OF_A_ROW = 20, 3, 640, 32
CURE_OF_ROWS = "mend the file, or go on without bad rows by --skip-bad-rows (bad_rows='skip')"
NONE_LEFT = "no row is left"
# What differs between two faults of one kind: what is quoted, and what stands behind a colon.
_VARYING = re.compile(r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"")


@final
@dataclass(frozen=True)
class BadRow:
    """The line of a row that cannot be used, and what is wrong with it; `place` is that of the message."""

    line: int
    place: str
    problem: str


def rows_or_faults(line: int, place: str, read: Callable[[], Iterable[T]]) -> Iterator[T | BadRow]:
    """What `read` gives, or the row that it complains of."""
    try:
        yield from list(read())
    except FileError as error:
        said = str(error)
        yield BadRow(line, place, said.removeprefix(place).lstrip(":, ") if said.startswith(place) else said)


def refusal(name: str, bad: Sequence[BadRow], total: int, cure: str) -> str:
    """One sentence that says what is wrong with rows of a file, and where; beyond twenty lines how many more."""
    if len(bad) == 1:
        return f"{bad[0].place}: {bad[0].problem}; {cure}"
    return f"{name}: {len(bad):,} of {total:,} rows are bad: {_listing(bad, MOST_LISTED)}; {cure}"


def warnings_about(name: str, bad: Sequence[BadRow], total: int) -> list[str]:
    """The warning about rows that are left out; none if none are."""
    if not bad:
        return []
    return [f"{name}: {len(bad):,} of {total:,} rows are bad and left out: {_listing(bad, MOST_WARNED_OF)}"]


def sorted_out(
    name: str, found: Iterable[T | BadRow], policy: BadRows, error: type[EdgewiseError]
) -> tuple[list[T], list[str]]:
    """The good rows, and what is to be said of the bad ones where these are skipped; else the error that lists them."""
    good, bad = list[T](), list[BadRow]()
    for row in found:
        (bad if isinstance(row, BadRow) else good).append(row)  # type: ignore[arg-type]
    if bad and (policy == "refuse" or not good):
        raise error(refusal(name, bad, len(good) + len(bad), CURE_OF_ROWS if policy == "refuse" else NONE_LEFT))
    said = warnings_about(name, bad, len(good) + len(bad))
    warn_of(said)
    return good, said


def _listing(bad: Sequence[BadRow], lines: int) -> str:
    """What is wrong, each kind of fault once, with the numbers of so many lines in all."""
    alike: dict[str, list[BadRow]] = defaultdict(list)
    for row in bad:
        alike[_VARYING.sub("", row.problem).partition(":")[0]].append(row)
    shown = list(alike.values())[:lines]
    room, named = max(LEAST_OF_A_ROW, ROOM_FOR_ROWS // len(shown)), lines // len(shown)
    parts = [_cut(f"line {first.line}: {first.problem}", room) + _also(more, named - 1) for first, *more in shown]
    rest = len(bad) - sum(map(len, shown))
    return "; ".join(parts) + (f"; and {rest:,} more" if rest > 0 else "")


def _also(rows: Sequence[BadRow], named: int) -> str:
    """In brackets, the lines in which it is the same."""
    if not rows:
        return ""
    numbers, rest = ", ".join(str(row.line) for row in rows[:named]), len(rows) - named
    if rest <= 0:
        return f" (so too line{'s' if len(rows) > 1 else ''} {numbers})"
    return f" (so too lines {numbers} and {rest:,} more)" if named > 0 else f" (so too {rest:,} more)"


def _cut(text: str, room: int) -> str:
    first = text.partition("\n")[0]
    return first if len(first) <= room else first[: room - 1] + "…"
