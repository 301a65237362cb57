"""Comparison: what every method found, beside one another, and printed as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from edgewise.comparison.result import Compared
from edgewise.comparison.tables import tables


@final
@dataclass(frozen=True)
class Comparison(Compared):
    """Methods beside one another on one model and one set of pairs; its fields are those of `Compared`.

    `print` shows the tables.
    """

    def __str__(self) -> str:
        return "\n\n".join(str(table) for table in tables(self))
