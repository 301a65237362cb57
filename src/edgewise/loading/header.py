"""The header of a GGUF file, read with suspicion: every number in it is held against the size of the file first.

A header that lies must not make anybody allocate or loop by what it says, so libraries see a file only after this.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from edgewise.errors import FileError, UnsupportedModel
from edgewise.store.disk import reason

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_DIMENSIONS = 4
# Numbers of metadata by the code of their type; a text has code 8, an array 9.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT_KIND, ARRAY_KIND = 8, 9
# In how many bytes a block of a stored type lies, by the code of the type; for blocks of so many values.
BLOCK_SIZES = {
    1: {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2},
    32: {2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 9: 40, 20: 18, 39: 17},
    64: {40: 36},
    128: {41: 18},
    256: {10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 15: 292, 16: 66, 17: 74, 18: 98, 19: 50, 21: 110, 22: 82, 23: 136}
    | {29: 56, 34: 54, 35: 66},
}
BLOCKS = {kind: (values, size) for values, sizes in BLOCK_SIZES.items() for kind, size in sizes.items()}
# Sizes that no tensor of the file shows, and that make nothing large.
FREE = ("context_length", "sliding_window")


@final
@dataclass(frozen=True)
class Array:
    """A list in the metadata, of which only the length is read."""

    length: int


@final
@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself: metadata, and the shape of each tensor, as torch has it."""

    architecture: str
    metadata: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]

    @property
    def own(self) -> dict[str, Any]:
        """The metadata about the shape of the model, without the prefix of its architecture."""
        prefix = self.architecture + "."
        return {key.removeprefix(prefix): value for key, value in self.metadata.items() if key.startswith(prefix)}

    @property
    def weights(self) -> int:
        """How many numbers its tensors hold."""
        return sum(math.prod(shape) for shape in self.tensors.values())


def read_header(path: Path) -> Header:
    """The header; FileError for a file that is no GGUF or a damaged one, UnsupportedModel for one of a kind not read."""
    with _mapped(path) as data:
        if data[:4] != MAGIC:
            raise FileError(f"{path} is not a GGUF file: it does not begin with {MAGIC.decode()}")
        try:
            header = _read(_Cursor(data), path)
        except (_Damaged, struct.error, UnicodeDecodeError, OverflowError) as error:
            raise FileError(f"{path} is a damaged or truncated GGUF file: {error}") from None
    _check_sizes(header, path)
    return header


class _Damaged(Exception):
    """Something that cannot be in a whole file."""


@final
class _Cursor:
    """Reads forwards and never past the end."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.at = 4

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def number(self, form: str) -> Any:
        (value,) = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))
        return value

    def take(self, size: int) -> bytes:
        self.skip(size)
        return bytes(self.data[self.at - size : self.at])

    def skip(self, size: int) -> None:
        if size > self.left:
            raise _Damaged(f"it ends at byte {len(self.data):,}, in the middle of its header")
        self.at += size

    def count(self, what: str, smallest: int) -> int:
        """A number of things, each of which takes at least so many bytes."""
        count = self.number("Q")
        if count * smallest > self.left:
            raise _Damaged(f"it claims {count:,} {what} but has {self.left:,} bytes left")
        return count

    def text(self) -> str:
        return self.take(self.count("characters of a text", 1)).decode()


def _read(cursor: _Cursor, path: Path) -> Header:
    version = cursor.number("I")
    if version not in VERSIONS:
        raise UnsupportedModel(f"{path} is a GGUF file of version {version}; edgewise reads versions 2 and 3")
    n_tensors = cursor.count("tensors", 24)
    n_keys = cursor.count("entries of metadata", 13)
    metadata = dict(_unique((cursor.text(), _value(cursor)) for _ in range(n_keys)))
    entries = dict(_unique((cursor.text(), _entry(cursor)) for _ in range(n_tensors)))
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise _Damaged("it does not name its architecture")
    _check_ends(entries, cursor, metadata.get("general.alignment", 32), path)
    return Header(architecture, metadata, {name: shape for name, (shape, _, _) in entries.items()})


def _unique(entries: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for name, value in entries:
        if name in seen:
            raise _Damaged(f"{name!r} is in it twice")
        seen.add(name)
        yield name, value


def _value(cursor: _Cursor) -> Any:
    kind = cursor.number("I")
    if kind == TEXT_KIND:
        return cursor.text()
    if kind != ARRAY_KIND:
        return cursor.number(_form(kind))
    element = cursor.number("I")
    if element == TEXT_KIND:
        count = cursor.count("texts", 8)
        for _ in range(count):
            cursor.skip(cursor.number("Q"))
        return Array(count)
    size = struct.calcsize("<" + _form(element))
    count = cursor.count("numbers", size)
    cursor.skip(count * size)
    return Array(count)


def _form(kind: int) -> str:
    if kind not in NUMBERS:
        raise _Damaged(f"its metadata has a value of the unknown type {kind}")
    return NUMBERS[kind]


def _entry(cursor: _Cursor) -> tuple[tuple[int, ...], int, int]:
    """Shape, as torch has it, type and place of one tensor."""
    dimensions = cursor.number("I")
    if not 0 < dimensions <= MAX_DIMENSIONS:
        raise _Damaged(f"it has a tensor with {dimensions} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))
    if min(shape) < 1:
        raise _Damaged("it has a tensor without values")
    return shape[::-1], cursor.number("I"), cursor.number("Q")


def _check_ends(entries: dict[str, Any], cursor: _Cursor, alignment: Any, path: Path) -> None:
    """Every tensor lies whole within the file."""
    if not entries:
        raise _Damaged("it holds no tensors")
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise _Damaged(f"its alignment is {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    for name, (shape, kind, offset) in entries.items():
        if kind not in BLOCKS:
            raise UnsupportedModel(f"{path}: the tensor {name} is stored in a type ({kind}) that edgewise cannot read")
        values, size = BLOCKS[kind]
        if shape[-1] % values:
            raise _Damaged(f"the rows of {name} are not whole blocks")
        end = start + offset + math.prod(shape) // values * size
        if end > len(cursor.data):
            raise _Damaged(f"{name} would end at byte {end:,}, but the file has {len(cursor.data):,}")


def _check_sizes(header: Header, path: Path) -> None:
    """No size in the metadata is beyond what the tensors of the file can be."""
    parts = header.metadata.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise UnsupportedModel(
            f"{path} is a part of a model split over {parts} files; join them first (llama-gguf-split --merge)"
        )
    largest = max(max(shape) for shape in header.tensors.values())
    sizes = {key: value for key, value in header.own.items() if isinstance(value, int)}
    for key, value in sizes.items():
        limit = 1 << 31 if key.endswith(FREE) else len(header.tensors) if key == "block_count" else largest
        if not 0 <= value <= limit:
            raise FileError(
                f"{path} is a damaged GGUF file: its {key} is {value:,}, more than its tensors have room for"
            )


@contextmanager
def _mapped(path: Path) -> Iterator[Any]:
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise FileError(f"{path} is not a GGUF file: it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield data
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {reason(error)}") from None
