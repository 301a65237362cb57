"""How long work tells where it is: a `Track` wraps an iterable, and may draw a bar while it is consumed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from html import escape
from threading import Lock
from typing import Any, ParamSpec, Protocol, TypeVar, final, runtime_checkable

from edgewise.display import clean

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
LONGEST_LABEL_OF_A_BAR = 120
# Where nobody watches, a line; in a notebook a bar, drawn anew no oftener than an eye can follow.
SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_DRAWINGS = 30.0, 0.3
# One display at a time: what runs inside of what is shown is part of it.
_display = Lock()


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


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(clean(text, LONGEST_LABEL_OF_A_BAR))


def watched(verb: Callable[P, R]) -> Callable[P, R]:
    """The function, which shows how far it is where its `progress` is True, and in a notebook where that is left open.

    A `track` that is given is used instead.
    """

    @wraps(verb)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        progress: Any = kwargs.get("progress")
        if "track" in kwargs or not (in_notebook() if progress is None else progress):
            return verb(*args, **kwargs)
        with shown() as track:
            kwargs["track"] = track
            return verb(*args, **kwargs)

    return inside


@contextmanager
def shown() -> Iterator[Track]:
    """A Track that shows, while the block runs, how far it is, and nothing of it afterwards.

    Bars in a terminal, one bar in a notebook; elsewhere a line on stderr every half minute. Silent inside another, and on
    all ranks but the first.
    """
    from edgewise.ranks import current  # which brings torch: not for the help of a command

    if not (current().first and _display.acquire(blocking=False)):
        yield silent
        return
    try:
        with _display_here() as track:
            yield track
    finally:
        _display.release()


def _display_here() -> AbstractContextManager[Track]:
    from rich.console import Console

    if in_notebook():
        return _in_notebook()
    if Console(stderr=True).is_terminal:
        return _bars()
    return nullcontext(Teller(_on_stderr, SECONDS_BETWEEN_LINES).track)


def in_notebook() -> bool:
    """Whether a notebook runs this."""
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter


@final
@dataclass(frozen=True)
class Standing:
    """How far a piece of work is: `done` of `total` steps, begun `seconds` ago; `detail` where its latest step stands."""

    label: str
    done: int
    total: int
    seconds: float
    detail: str = ""

    @property
    def line(self) -> str:
        """In words, with what is left if the rest goes like what is done."""
        left = self.seconds / self.done * (self.total - self.done)
        parts = [f"{self.label}: {self.done:,} of {self.total:,}", f"{duration(self.seconds)} so far"]
        parts += [f"about {duration(left)} left"] if self.done < self.total else []
        return ", ".join(parts) + (f" ({self.detail})" if self.detail else "")

    @property
    def html(self) -> str:
        """The same beside a bar."""
        return f'<progress value="{self.done}" max="{self.total}"></progress> {escape(self.line)}'


def duration(seconds: float) -> str:
    """A time in words, to two figures or so.

    >>> duration(8.4), duration(95), duration(4000)
    ('8 s', '2 min', '1 h 7 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@final
@dataclass
class Teller:
    """Tells where work stands, as one of its steps ends: at most once in so many seconds."""

    tell: Callable[[Standing], None]
    seconds: float
    clock: Callable[[], float] = time.monotonic
    _last_told: float = field(init=False)

    def __post_init__(self) -> None:
        self._last_told = self.clock()

    def track(
        self, steps: Iterable[T], total: int, label: str, detail: Callable[[T], str] | None = None
    ) -> Iterable[T]:
        """The Track."""
        begun = self.clock()
        for done, step in enumerate(steps, start=1):
            yield step
            now = self.clock()
            if now - self._last_told >= self.seconds:
                self._last_told = now
                self.tell(Standing(label, done, total, now - begun, "" if detail is None else detail(step)))


def _on_stderr(standing: Standing) -> None:
    sys.stderr.write(f"edgewise: {standing.line}\n")
    sys.stderr.flush()


@contextmanager
def _in_notebook() -> Iterator[Track]:
    """A bar below the cell, if there is time for one, which goes when the work is done."""
    from IPython.display import HTML, display

    places = list[Any]()

    def draw(standing: Standing) -> None:
        bar = HTML(standing.html)
        if places:
            places[0].update(bar)
        else:
            places.append(display(bar, display_id=True))

    try:
        yield Teller(draw, SECONDS_BETWEEN_DRAWINGS).track
    finally:
        for place in places:
            place.update(HTML(""))


@contextmanager
def _bars() -> Iterator[Track]:
    """A bar on stderr for each piece of work."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    details = TextColumn("[dim]{task.fields[detail]}[/]")
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), details, console=console, transient=True) as bars:

        def track(steps: Iterable[T], total: int, label: str, detail: Callable[[T], str] | None = None) -> Iterable[T]:
            bar = bars.add_task(_escaped(label), total=total, detail="")
            for step in steps:
                yield step
                bars.update(bar, advance=1, detail=_escaped(detail(step)) if detail is not None else "")
            bars.update(bar, visible=False)

        yield track
