"""A disk that refuses one of the things it is asked to do below a folder, or kills who asks."""

from __future__ import annotations

import builtins
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# What changes something on a disk, by the places Python keeps it.
CHANGES = ((builtins, "open"), (io, "open"), (os, "mkdir"), (os, "replace"), (os, "rename"), (os, "fsync"))


def full(name: str) -> None:
    raise OSError(28, "No space left on device", name)


def killed(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Disk:
    """Counts what is asked of it below a folder; the `at`-th is answered by `fault`."""

    def __init__(self, folder: Path, at: int, fault: Callable[[str], None] = full) -> None:
        self.folder, self.at, self.fault, self.asked = os.fspath(folder), at, fault, 0

    def reached(self) -> bool:
        return self.asked >= self.at

    @contextmanager
    def in_place(self) -> Iterator[Disk]:
        with pytest.MonkeyPatch.context() as patch:
            for module, name in CHANGES:
                patch.setattr(module, name, self._watched(getattr(module, name), name))
            yield self

    def _watched(self, ask: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(place: Any, *arguments: Any, **options: Any) -> Any:
            if self._changes(name, place, arguments, options):
                self.asked += 1
                if self.asked == self.at:
                    self.fault(str(place))
            return ask(place, *arguments, **options)

        return watched

    def _changes(self, name: str, place: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
        if name == "fsync":
            return True
        if name == "open" and not set(str(options.get("mode", arguments[0] if arguments else "r"))) & set("wxa"):
            return False
        return isinstance(place, str | os.PathLike) and os.path.abspath(place).startswith(self.folder)
