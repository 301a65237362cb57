"""Whole files or none: written under a temporary name that is renamed when complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal, TextIO

from edgewise.errors import FileError
from edgewise.store.targets import lock, locked, refuse_link, remove_leftovers, temporary_name


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Writes the whole file or nothing, replacing what was there, but no link; returns its path.

    The bytes go to a temporary name in the same folder, reach the disk, and are renamed: a reader never sees a part,
    and an error or an interrupt leaves the old file as it was.
    """
    target = target_of(path)
    remove_leftovers(target)
    temporary = temporary_name(target)
    try:
        with unwritten(path), open(temporary, "xb") as file:
            lock(file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, target)
    finally:
        with suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)
    return Path(path)


def open_log(path: str | os.PathLike[str], mode: Literal["w", "a"]) -> TextIO:
    """A file of lines that grows while a run goes on; FileError for a link, and for what is no ordinary file."""
    target = target_of(path)
    return open(
        target,
        mode,
        encoding="utf-8",
        opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666),
    )


@contextmanager
def held_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder, made if need be, that is this process's alone while inside; what killed processes left beside it goes.

    FileError for a link and for a file of that name, if it cannot be made, and at once if another process holds it. If the
    block ends in an error, folders that were made for it go again, unless something is in them.
    """
    final = Path(os.path.abspath(path))
    refuse_link(final)
    made = _made(final)
    try:
        with ExitStack() as stack:
            with unwritten(final):
                ours = stack.enter_context(locked(final))
            if not ours:
                raise FileError(f"{final} is being written by another process; wait for it, or name another folder")
            remove_leftovers(final)
            yield final
    except BaseException:
        for folder in reversed(made):
            _remove_if_empty(folder)
        raise


@contextmanager
def filled(final: Path) -> Iterator[Path]:
    """Fills a folder that is held: yields a temporary one beside it, which takes its place when the block ends.

    FileError before the block runs if there is something in it, or if nothing can be written there.
    """
    with unwritten(final):
        if any(final.iterdir()):
            raise FileError(f"{final} already exists; name a new folder")
    temporary = temporary_name(final)
    _make(temporary)
    try:
        with ExitStack() as stack:
            with unwritten(final):
                stack.enter_context(locked(temporary))
            yield temporary
            with unwritten(final):
                os.rename(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder that appears under `path` with everything in it, or not at all.

    Yields a temporary folder beside it to write to, and renames it when the block ends. FileError before the block
    runs if `path` exists and is not empty, if another process is about to make it, or if nothing can be written there.
    """
    with held_folder(path) as final, filled(final) as temporary:
        yield temporary


@contextmanager
def unwritten(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the operating system refuses while inside, as the FileError that `path` cannot be written."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be written: {reason(error)}") from None


@contextmanager
def accessible(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the operating system refuses while inside, as the FileError that `path` cannot be read."""
    try:
        yield
    except OSError as error:
        place = path if error.filename is None else error.filename
        raise FileError(f"{place} cannot be read: {reason(error)}") from None


def reason(error: Exception) -> str:
    """What the operating system says, without numbers and repeated paths.

    >>> reason(PermissionError(13, "Permission denied", "a.json"))
    'permission denied'
    """
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]


def target_of(path: str | os.PathLike[str]) -> Path:
    """Where a file goes: never through a link, and never in the place of a device or a folder."""
    target = Path(os.path.abspath(path))
    refuse_link(path)
    if os.path.isdir(target):
        raise FileError(f"{path} is a folder; name a file in it")
    if os.path.exists(target) and not os.path.isfile(target):
        raise FileError(f"{path} is not an ordinary file")
    with unwritten(path):
        try:
            target.parent.stat()
        except (FileNotFoundError, NotADirectoryError):
            folder = target.parent.name
            raise FileError(f"{path} cannot be written: there is no folder {folder!r}; make it first") from None
    return target


def _made(final: Path) -> list[Path]:
    """Makes a folder and its missing parents; returns those that were made."""
    if os.path.lexists(final) and not os.path.isdir(final):
        raise FileError(f"{final} already exists; name a new folder")
    missing = [folder for folder in (*reversed(final.parents), final) if not os.path.isdir(folder)]
    made: list[Path] = []
    try:
        for folder in missing:
            made += [folder] if _make(folder) else []
    except FileError:
        for folder in reversed(made):
            _remove_if_empty(folder)
        raise
    return made


def _make(folder: Path) -> bool:
    """Makes a folder; False if somebody else made it meanwhile."""
    try:
        folder.mkdir()
        return True
    except FileExistsError:
        if os.path.isdir(folder):
            return False
        raise FileError(f"the folder {folder} cannot be created: there is a file of that name") from None
    except (OSError, ValueError) as error:
        raise FileError(f"the folder {folder} cannot be created: {reason(error)}") from None


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # someone put something into it meanwhile: it is theirs now
        folder.rmdir()
