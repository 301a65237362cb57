"""The door through which files are read: ordinary files of a size that is allowed, and one sentence for whatever is wrong."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from edgewise.display import clean
from edgewise.errors import EdgewiseError, FileError
from edgewise.store.disk import reason

# Scores of 70,000 edges are 0.6 MB, those of a model of 70 billion weights 140 MB.
MOST_BYTES = 1 << 31
# What goes wrong in reading content, below the level of its schema; torch raises a RuntimeError.
FAULTS = (RecursionError, ArithmeticError, UnicodeError, struct.error, MemoryError, RuntimeError)


def read_bytes(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> bytes:
    """The bytes of an ordinary file, or of one that is linked to, if they are not more than `most`; FileError otherwise."""
    try:
        with opened(path, most=most) as file:
            data = file.read()
    except (OSError, MemoryError) as error:
        raise FileError(f"{path} cannot be read: {reason(error)}") from None
    if len(data) > most:
        raise _too_large(path, len(data), most)
    return data


def lines_of(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a text file, each with its end; of a file that a run was killed at, the last may be half there."""
    *whole, last = read_bytes(path).decode("utf-8", "replace").split("\n")
    return [*(line + "\n" for line in whole), *([last] if last else [])]


@contextmanager
def opened(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> Iterator[BinaryIO]:
    """The file, to be read; a pipe or a device is refused before anything is read of it."""
    try:
        # Whoever opens a pipe without this waits for somebody to write.
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise FileError(f"{path} is a folder; name a file in it") from None
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {reason(error)}") from None
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise FileError(f"{path} is a pipe or a device, not an ordinary file; copy what it gives to a file first")
        if found.st_size > most:
            raise _too_large(path, found.st_size, most)
        yield file


@contextmanager
def understood(name: str) -> Iterator[None]:
    """What goes wrong inside, where the content of the file `name` is read, becomes one FileError with its name.

    An error of ours that names the file already stays what it is.
    """
    try:
        yield
    except EdgewiseError as error:
        if name in str(error) or clean(name, len(name)) in str(error):
            raise
        raise FileError(f"{name}: {error}") from None
    except FAULTS as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileError(f"{name} is damaged or too deeply nested: {first:.120}") from None


def _too_large(path: str | os.PathLike[str], size: int, most: int) -> FileError:
    return FileError(f"{path} has {size:,} bytes or more, and files of its kind are read up to {most:,}")
