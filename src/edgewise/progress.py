"""How long work tells where it is: a `Track` wraps an iterable, and may draw a bar while it is consumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Wraps an iterable of `total` steps, labelled `label`; `detail` says in a few words where the latest step stands."""

    def __call__(
        self, steps: Iterable[T], total: int, label: str, detail: Callable[[T], str] | None = None
    ) -> Iterable[T]:
        """The same steps, in the same order."""
        ...


def silent(steps: Iterable[T], total: int, label: str, detail: Callable[[T], str] | None = None) -> Iterable[T]:
    """The Track that shows nothing."""
    return steps


def staged(track: Track, label: str, work: Callable[[], T]) -> T:
    """What `work` returns, told as one step."""
    results = [work() for _ in track((None,), 1, label)]
    return results[0]
