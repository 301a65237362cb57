"""Manifests: the hash of every file of a run or a comparison, held against what is read.

Files that no manifest lists are read as they are.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edgewise.errors import FileError
from edgewise.store.json_text import parse
from edgewise.store.opening import read_bytes, understood
from edgewise.store.schema import Model, validate

MANIFEST, MANIFEST_FILE = "edgewise/manifest", "manifest.json"
# How many folders up from a file its manifest may be: of a run none, of a method of a comparison two.
LEVELS_UP = (0, 2)
MOST_OF_A_MANIFEST = 1 << 26


class ListedFiles(BaseModel):
    """What a manifest says of files: the hash of each, by its path below the manifest's folder."""

    model_config = ConfigDict(strict=True, extra="ignore")

    files: dict[str, str]


def file_hash(path: Path) -> str:
    """The hash of a file as a manifest has it."""
    return _hash(path.read_bytes())


def check_listed(path: str | os.PathLike[str], data: bytes) -> None:
    """FileError if a manifest lists the file with another hash than that of these bytes, which were read from it."""
    place = Path(os.path.abspath(path))
    for up in LEVELS_UP:
        if up < len(place.parents) and place.name != MANIFEST_FILE:
            folder = place.parents[up]
            wanted = listed_in(folder).get(str(place.relative_to(folder)))
            if wanted is not None and wanted != _hash(data):
                raise _changed(str(path), folder)


def read_document(model: type[Model], path: str | os.PathLike[str]) -> Model:
    """The document of a JSON file that is as it was written; FileError if it is none, or was changed."""
    name, data = os.fspath(path), read_bytes(path)
    with understood(name):
        document = validate(model, parse(data, name), name)
    check_listed(path, data)  # after what can be said more exactly
    return document


def listed_in(folder: Path) -> dict[str, str]:
    """The files that the manifest in a folder lists, with their hashes; none where there is no manifest of edgewise."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return {}
    data = read_bytes(path, most=MOST_OF_A_MANIFEST)
    # Other tools have files of this name too.
    return validate(ListedFiles, parse(data, str(path)), str(path)).files if MANIFEST.encode() in data else {}


def give_up_broken(folder: Path) -> None:
    """Removes the manifest of a folder in which files that it lists are missing, since these are made again.

    FileError for one that is there and was changed.
    """
    listed = listed_in(folder)
    for name in listed:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise FileError(f"{folder / MANIFEST_FILE} lists {name[:80]!r}, which is not below its folder")
    there = [folder / name for name in listed if (folder / name).is_file()]
    if len(there) == len(listed):
        return
    for path in there:
        check_listed(path, read_bytes(path))
    (folder / MANIFEST_FILE).unlink()


def _hash(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _changed(name: str, folder: Path) -> FileError:
    return FileError(
        f"{name} was changed or damaged after it was written: its hash is not the one in {folder / MANIFEST_FILE}; bring it "
        "back from a copy or make it again, or copy it to another folder to read it as it is"
    )
