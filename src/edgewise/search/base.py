"""The contract of a search: a model and pairs in, a circuit out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

from torch import Tensor

from edgewise.errors import InvalidValue
from edgewise.request import LOCAL, Request


@final
@dataclass(frozen=True)
class Found:
    """What a search found: `mask` bool [writer, reader], and counts for the provenance.

    `seconds`: how long it took, where the search knows better than whoever called it.
    """

    mask: Tensor
    counts: dict[str, Any]
    seconds: float | None = None


class Search(ABC):
    """A method that decides itself which edges a circuit keeps, instead of scoring all of them.

    `dial` names the option that says how much is kept, the larger the fewer; `dial_values` is what a sweep over it tries
    when it is not told.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    cost: ClassVar[str]
    paper: ClassVar[str] = ""
    metric: ClassVar[str]
    dial: ClassVar[str]
    dial_values: ClassVar[tuple[float, ...]]

    @abstractmethod
    def for_edges(self, edges: int | None) -> Search:
        """The same search set to keep so many edges (None: as it is); InvalidValue if it decides that itself."""

    @abstractmethod
    def search(self, request: Request) -> Found:
        """The edges that are kept. `request.batch_size` does not apply: a search judges all pairs together."""


class SharingSearch(Search):
    """A search whose runs at several values of its dial share work."""

    @abstractmethod
    def sweep(self, values: Sequence[float], request: Request) -> list[Found]:
        """What `search` finds at each value, in the order given."""


def dialled(search: Search, value: float) -> Search:
    """The search with its dial at a value, and with that value in the names of files that it keeps."""
    files = {name: getattr(search, name) for name in LOCAL if getattr(search, name, None)}
    names = {name: str(_with_value(Path(path), value)) for name, path in files.items()}
    return replace(search, **{search.dial: value, **names})  # type: ignore[type-var]


def _with_value(path: Path, value: float) -> Path:
    return path.with_name(f"{path.stem}-{value!r}{path.suffix}")


def refuse_edges(name: str, edges: int | None) -> None:
    """InvalidValue if a search that finds its own number of edges was asked for one."""
    if edges is not None:
        raise InvalidValue(f"{name} decides itself how many edges it keeps: leave edges out")
