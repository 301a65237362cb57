"""How long work tells where it is: a `Track` wraps an iterable, and may draw a bar while it is consumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar, runtime_checkable

from edgewise.display import clean

T = TypeVar("T")
LONGEST_LABEL_OF_A_BAR = 120


@runtime_checkable
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


def _told(text: str) -> str:
    from rich.markup import escape

    return escape(clean(text, LONGEST_LABEL_OF_A_BAR))


@contextmanager
def shown() -> Iterator[Track]:
    """A Track that draws bars on stderr while the block runs, in a terminal or a notebook; silent where nobody watches."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    details = TextColumn("[dim]{task.fields[detail]}[/]")
    with Progress(*columns, TimeRemainingColumn(), details, console=console, transient=True) as bars:

        def track(steps: Iterable[T], total: int, label: str, detail: Callable[[T], str] | None = None) -> Iterable[T]:
            bar = bars.add_task(_told(label), total=total, detail="")
            for step in steps:
                yield step
                bars.update(bar, advance=1, detail=_told(detail(step)) if detail is not None else "")
            bars.update(bar, visible=False)

        yield track
