"""The user's cache: models converted from other formats, kept so that they are converted once.

    $EDGEWISE_CACHE, else $XDG_CACHE_HOME/edgewise, else ~/.cache/edgewise
    └── converted-1/<sha256 of the file it was made from>/    weights, config, tokenizer, and last converted.json

A folder counts only with a converted.json that lists its files in their sizes. Who converts holds the lock beside it, so
what is unfinished while nobody holds that lock was left by somebody who was killed, and goes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from edgewise.errors import FileError, UnknownName
from edgewise.progress import Track, staged
from edgewise.store.disk import new_folder, reason, write_bytes

# Raised when the same file would be converted to something else: what older versions kept is then not taken any more.
FORMAT = "converted-1"
ENTRY_FILE = "converted.json"
MOMENT = 0.1
_KEY = re.compile(r"[0-9a-f]{64}")

Writer = Callable[[Path], None]


@final
@dataclass(frozen=True)
class KeptModel:
    """A converted model in the cache; `facts` is its manifest, empty for one that is not whole."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the file it was made from."""
        return str(self.facts.get("file", "unfinished"))

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def described(self) -> dict[str, Any]:
        """As plain values."""
        return {"name": self.name, "bytes": self.size, "folder": str(self.folder), **self.facts}


def cache_folder() -> Path:
    """Where edgewise keeps what it can make again."""
    if own := os.environ.get("EDGEWISE_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "edgewise"


def find(key: str) -> KeptModel | None:
    """The whole entry of the file with this sha256, if there is one."""
    entry = _entry(cache_folder() / FORMAT / key)
    return entry if entry.facts else None


@contextmanager
def converted(key: str, facts: Mapping[str, Any], make: Callable[[], Writer], track: Track) -> Iterator[Path]:
    """The folder of an entry, made if need be: `make` converts, and what it returns writes the files.

    Two processes that want the same one convert it once. Where nothing can be kept, a warning says so and the folder is a
    temporary one: a model that can be read is of more use than a refusal. FileError where not even that can be written.
    """
    if (found := find(key)) is not None:
        yield found.folder
        return
    folder, write, trouble = _made(key, facts, make, track)
    if folder is not None:
        yield folder
        return
    warnings.warn(
        f"{facts['file']} cannot be kept in the cache ({trouble}) and is converted again each time; "
        "name a folder with room in EDGEWISE_CACHE",
        stacklevel=2,
    )
    with tempfile.TemporaryDirectory(prefix="edgewise-") as temporary:
        try:
            write(Path(temporary))
        except _Unwritable as error:
            raise FileError(
                f"{facts['file']} cannot be converted: neither in {cache_folder()} ({trouble}) nor in {temporary} ({error}) "
                "is there room; name a folder that has some in EDGEWISE_CACHE"
            ) from None
        yield Path(temporary)


def entries(name: str | None = None) -> list[KeptModel]:
    """All entries, also unfinished ones and those of earlier versions; or those of one name or of the start of a sha256."""
    folders = sorted(path for path in cache_folder().glob("converted-*/*") if _is_ours(path) and path.is_dir())
    found = [_entry(path) for path in folders]
    if name is None:
        return found
    matching = [entry for entry in found if name == entry.name or entry.folder.name.startswith(name)]
    if not matching:
        raise UnknownName.of("cache entry", name, {entry.name for entry in found})
    return matching


def clear(name: str | None = None) -> list[dict[str, Any]]:
    """Removes entries, all or those of one name, and says which they were; nothing else in the folder is touched."""
    removed = []
    for entry in entries(name):
        try:
            with _lock(entry.folder.with_name(_key(entry.folder)), timeout=MOMENT):
                described = entry.described()
                shutil.rmtree(entry.folder)
        except TimeoutError:  # somebody is converting it just now
            continue
        except OSError as error:
            raise FileError(f"{entry.folder} cannot be removed: {reason(error)}") from None
        removed.append(described)
    return removed


def unwritable(error: Exception) -> Exception:
    """What a Writer raises when the disk, and not the model, is at fault."""
    return _Unwritable(reason(error))


class _Unwritable(Exception):
    """Nothing can be kept here."""


def _made(
    key: str, facts: Mapping[str, Any], make: Callable[[], Writer], track: Track
) -> tuple[Path | None, Writer, str]:
    """The folder of a new entry; or none, with what was converted and why it could not be kept."""
    folder, write = cache_folder() / FORMAT / key, None
    try:
        with _turn(folder, track):
            if (found := find(key)) is not None:
                return found.folder, _nothing, ""
            _remove_leftovers(folder)
            write = make()
            _keep(folder, {**facts, "sha256": key}, write)
            return folder, write, ""
    except _Unwritable as error:
        return None, write or make(), str(error)


def _nothing(folder: Path) -> None:
    pass


def _keep(folder: Path, facts: Mapping[str, Any], write: Writer) -> None:
    try:
        with new_folder(folder) as temporary:
            write(temporary)
            files = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
            when = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = {**facts, "created": when, "files": files}
            write_bytes(temporary / ENTRY_FILE, json.dumps(manifest, indent=1).encode())
    except FileError as error:
        raise _Unwritable(str(error)) from None


def _entry(folder: Path) -> KeptModel:
    try:
        facts = json.loads((folder / ENTRY_FILE).read_bytes())
        whole = all((folder / name).stat().st_size == size for name, size in facts["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return KeptModel(folder, {})
    return KeptModel(folder, facts if whole else {})


def _remove_leftovers(folder: Path) -> None:
    """What killed processes left: only while holding the lock, and where there is no whole entry."""
    for path in (folder, *folder.parent.glob(f".{folder.name}.*.tmp")):
        shutil.rmtree(path, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    return _KEY.fullmatch(_key(path)) is not None


def _key(path: Path) -> str:
    """The sha256 an entry, or the temporary folder of one, is named by."""
    return path.name.strip(".").partition(".")[0]


@contextmanager
def _turn(folder: Path, track: Track) -> Iterator[None]:
    """Alone among all processes that would make this entry."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder, timeout=MOMENT)
        lock.__enter__()
    except TimeoutError:
        lock = _lock(folder, timeout=None)
        staged(track, "waiting for another process that converts it", lock.__enter__)
    except OSError as error:
        raise _Unwritable(f"{folder.parent}: {reason(error)}") from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _lock(folder: Path, timeout: float | None) -> Any:
    from huggingface_hub.utils import WeakFileLock

    return WeakFileLock(folder.with_name(f"{folder.name}.lock"), timeout=timeout)
