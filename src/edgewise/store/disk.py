"""Whole files or none: written under a temporary name that is renamed when complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgewise.errors import FileError


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Writes the whole file or nothing, replacing what was there; returns its path.

    The bytes go to a temporary name in the same folder, reach the disk, and are renamed: a reader never sees a part,
    and an error or an interrupt leaves the old file as it was.
    """
    target = _target(path)
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {reason(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return Path(path)


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder that appears under `path` with everything in it, or not at all.

    Yields a temporary folder beside it to write to, and renames it when the block ends. FileError before the block
    runs if `path` exists and is not empty, or if nothing can be written there.
    """
    final = Path(os.path.abspath(path))
    made = _reserve(final)
    temporary = final.with_name(f".{final.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        _make(temporary)
        yield temporary
        _rename(temporary, final)
    except BaseException:
        _clear(temporary)
        for folder in reversed(made):
            _remove_if_empty(folder)
        raise


def reason(error: Exception) -> str:
    """What the operating system says, without numbers and repeated paths.

    >>> reason(PermissionError(13, "Permission denied", "a.json"))
    'permission denied'
    """
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]


def _target(path: str | os.PathLike[str]) -> Path:
    # Through symbolic links, so that a link stays a link; and never in the place of a device or a folder.
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise FileError(f"{path} is a folder; name a file in it")
        if target.exists() and not target.is_file():
            raise FileError(f"{path} is not an ordinary file")
        if not target.parent.is_dir():
            raise FileError(f"{path} cannot be written: there is no folder {target.parent.name!r}; make it first")
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be written: {reason(error)}") from None
    return target


def _reserve(final: Path) -> list[Path]:
    """Makes `final` and its missing parents, so that nobody else takes the name; returns the folders made."""
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise FileError(f"{final} already exists; name a new folder")
    missing = [folder for folder in (*reversed(final.parents), final) if not folder.exists()]
    made: list[Path] = []
    try:
        for folder in missing:
            _make(folder)
            made.append(folder)
    except FileError:
        for folder in reversed(made):
            _remove_if_empty(folder)
        raise
    return made


def _make(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError:
        raise FileError(f"{folder} already exists; name a new folder") from None
    except OSError as error:
        raise FileError(f"the folder {folder} cannot be created: {reason(error)}") from None


def _rename(temporary: Path, final: Path) -> None:
    try:
        os.rename(temporary, final)
    except OSError as error:
        raise FileError(f"{final} cannot be written: {reason(error)}") from None


def _clear(folder: Path) -> None:
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # someone put something into it meanwhile: it is theirs now
        return
