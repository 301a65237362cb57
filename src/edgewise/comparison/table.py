"""Table: a title, rows of text under headings, a note; as text or as Markdown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from edgewise.display import clean

ABSENT = "–"
LONGEST_CELL = 2000


@final
@dataclass(frozen=True)
class Table:
    """Rows of text under headings."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """As Markdown: the first column to the left, the others to the right."""
        rule = (":--", *("--:" for _ in self.header[1:]))
        header, *rows = self._lines
        lines = [header, rule, *rows]
        grid = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        title, note = (clean(text, LONGEST_CELL) for text in (self.title, self.note))
        return f"### {title}\n\n{grid}\n" + (f"\n{note}\n" if note else "")

    @property
    def _lines(self) -> list[tuple[str, ...]]:
        """Header and rows, whose cells are plain text whatever a name in them is."""
        return [tuple(clean(cell, LONGEST_CELL) for cell in line) for line in (self.header, *self.rows)]

    def __str__(self) -> str:
        lines = self._lines
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        rows = [
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        return "\n".join([self.title, *(row.rstrip() for row in rows), *([self.note] if self.note else [])])


def finite(value: float | None) -> float | None:
    """The number, None for one that is none."""
    return None if value is None or not math.isfinite(value) else value


def number(value: float | None, form: str) -> str:
    """The number in that form; a dash for none."""
    return ABSENT if value is None else f"{value:{form}}"
