"""Where files are written: safe names, no links, one process at a time, and nothing left of processes that were killed.

Names that come out of files (labels, tasks, models) become file names by `component` alone. A temporary file or folder is
`.<name>.<eight hex digits>.tmp` beside its final name, and locked while its process lives: one that is not is a leftover.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgewise.errors import FileError

try:
    import fcntl
except (
    ImportError
):  # Windows has other locks; there nothing is locked, and no leftover is told from what is being written
    fcntl = None

# A name on most disks has at most 255 bytes, of which a temporary one needs some for itself.
LONGEST_STEM = 200
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)


def component(text: str, *, also: str = "._") -> str:
    """`text` as one part of a path: letters, digits and `also`, everything else a dash; never hidden, empty, or too long.

    >>> component("../../x y"), component("qwen2.5_b"), component("...")
    ('-..-x-y', 'qwen2.5_b', '-')
    """
    name = "".join(c if c.isalnum() or c in also else "-" for c in text).lstrip(".") or "-"
    return os.fsencode(name)[:LONGEST_STEM].decode("utf-8", "ignore")


def refuse_link(path: str | os.PathLike[str]) -> None:
    """FileError if `path` is a link: what is written there would go to a place that somebody else chose."""
    if os.path.islink(path):
        raise FileError(f"{path} is a link, and nothing is written through links; remove it, or name what it leads to")


def temporary_name(path: Path) -> Path:
    """A new name beside `path` to write to until everything is there."""
    return path.with_name(f".{_stem(path)}.{secrets.token_hex(4)}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether a file or folder has the name of something unfinished."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_leftovers(path: Path) -> None:
    """Removes what killed processes left of `path` beside it: never what a living one is writing."""
    _remove_dead(path.parent, _stem(path))


def remove_leftovers_in(folder: Path) -> None:
    """Removes what killed processes left directly in a folder, of whatever name."""
    _remove_dead(folder, None)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Holds the lock of a file or folder that exists while inside: yields False, at once, if another process has it.

    It is gone when the process is, however that ended. A file system without locks locks nothing.
    """
    if fcntl is None:
        yield True
        return
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield lock(number) and _is_at(number, path)
    finally:
        os.close(number)


def unused(path: Path) -> bool:
    """Whether there is nothing of that name, or an empty folder that no process holds."""
    if not os.path.lexists(path):
        return True
    with suppress(OSError):
        if not os.path.islink(path) and not any(path.iterdir()):
            with locked(path) as ours:
                return ours
    return False


def lock(number: int) -> bool:
    """Takes the lock of an open file until it is closed; False, at once, if another process has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return True
    return True


def _is_at(number: int, path: Path) -> bool:
    """Whether what is open is still what has that name."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(number), os.lstat(path))
    return False


def _stem(path: Path) -> str:
    """What temporary names of `path` begin with: its name, or of a long one its hash."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= LONGEST_STEM else hashlib.sha256(name).hexdigest()[:32]


def _remove_dead(folder: Path, stem: str | None) -> None:
    if fcntl is None:
        return
    with suppress(OSError):
        for path in list(folder.iterdir()):
            match = _TEMPORARY.fullmatch(path.name)
            if match is not None and stem in (None, match[1]):
                _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    with suppress(OSError):
        if os.path.islink(path):
            path.unlink()
            return
        with locked(path) as dead:
            if dead:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
