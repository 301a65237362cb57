"""The contract of a search: a model and pairs in, a circuit out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from edgewise.errors import InvalidValue
from edgewise.request import Request


@dataclass(frozen=True)
class Found:
    """What a search found: `mask` bool [writer, reader], and counts for the provenance."""

    mask: Tensor
    counts: dict[str, Any]


class Search(ABC):
    """A method that decides edge by edge what a circuit keeps, instead of scoring all of them."""

    name: ClassVar[str]
    summary: ClassVar[str]
    cost: ClassVar[str]
    paper: ClassVar[str] = ""
    metric: ClassVar[str]

    @final
    def refuse_size(self, edges: int | None) -> None:
        """InvalidValue if a number of edges was asked for: the search decides it."""
        if edges is not None:
            raise InvalidValue(f"{self.name} decides itself how many edges it keeps: leave edges out")

    @abstractmethod
    def search(self, request: Request) -> Found:
        """The edges that are kept. `request.batch_size` does not apply: a search judges all pairs together."""
