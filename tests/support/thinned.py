"""Every case on every family, of which only a part runs whenever tests run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def thinned(cases: Sequence[tuple[Any, ...]], families: Sequence[str], *, one_in: int) -> list[Any]:
    """Parameters (*case, family); all but one in so many are slow.

    Each case meets some family, and each family some case where there are so many cases.
    """
    return [
        pytest.param(
            *case,
            family,
            marks=pytest.mark.slow if (row + column) % one_in else pytest.mark.chosen,
            id="-".join(str(value) for value in (*case, family)),
        )
        for row, family in enumerate(families)
        for column, case in enumerate(cases)
    ]
