"""Partial runs: the state of a long run, kept beside its folder until it is whole, so that it can go on after a kill.

`<folder>.partial` holds the recipe and the files a method keeps on the way (its options `trace` and `checkpoint`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, final

from edgewise.errors import FileError, InvalidValue
from edgewise.methods import option_names
from edgewise.request import LOCAL
from edgewise.runs.recipe import RECIPE_FILE, Recipe
from edgewise.store.disk import held_folder, unwritten, write_bytes
from edgewise.store.manifest import MANIFEST_FILE
from edgewise.store.schema import encode
from edgewise.store.targets import component, is_temporary, remove_leftovers_in, unused

Start = Literal["new", "resume"]
# The names of a method's own files; what a trace or a history tells is part of the result.
OWN_FILES = {"trace": "trace.jsonl", "checkpoint": "checkpoint", "history": "history.jsonl"}
RESULTS = ("trace*.jsonl", "history*.jsonl", "curves*.svg")
OF_A_STATE = (RECIPE_FILE, "checkpoint*", *RESULTS)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a run that can go on."""


@final
@dataclass(frozen=True)
class Partial:
    """The state of a run on its way: `options` of the method that name its files, in `folder`; none without a folder."""

    folder: Path | None
    options: Mapping[str, str]

    @property
    def results(self) -> list[Path]:
        """Files that belong into the run folder."""
        if self.folder is None:
            return []
        found = sorted(path for pattern in RESULTS for path in self.folder.glob(pattern))
        return [path for path in found if path.is_file() and not path.is_symlink()]

    @property
    def empty(self) -> bool:
        """Whether nothing was kept so far."""
        if self.folder is None or not os.path.isdir(self.folder):
            return True
        with unwritten(self.folder):
            kept = (path for path in self.folder.iterdir() if path.lstat().st_size and not is_temporary(path))
            return {path.name for path in kept} <= {RECIPE_FILE}


def partial_folder(out: str | os.PathLike[str]) -> Path:
    """Where the state of a run into `out` is kept."""
    path = Path(os.path.abspath(out))
    return path.with_name(path.name + ".partial")


def default_folder(recipe: Recipe, root: Path = Path("runs"), *, start: Start = "new") -> Path:
    """`runs/<task>-<model>-<method>`, with a number appended if it exists: or the one with this recipe's unfinished run."""

    def free(folder: Path) -> bool:
        partial = partial_folder(folder)
        return (is_of(partial, recipe) and not is_whole(folder)) or (unused(folder) and not os.path.lexists(partial))

    folder = free_folder((recipe.prompts, recipe.model, recipe.method), free=free, root=root)
    if start == "resume" and keeps_state(recipe) and not is_of(partial_folder(folder), recipe):
        raise FileError(f"there is no interrupted run of this recipe in {root}; leave --resume out")
    return folder


def free_folder(parts: Iterable[str], *, free: Callable[[Path], bool], root: Path = Path("runs")) -> Path:
    """A folder named after the parts (of a path the last), the first that is free when numbers from 2 on are appended."""
    name = component("-".join(part.rstrip("/").rpartition("/")[2] for part in parts))
    folder, number = root / name, 2
    while not free(folder):
        folder, number = root / f"{name}-{number}", number + 1
    return folder


def keeps_state(recipe: Recipe) -> bool:
    """Whether the recipe's method keeps files on the way, and is not told where."""
    return any(name in LOCAL for name in option_names(recipe.method)) and not recipe.options.keys() & set(LOCAL)


@contextmanager
def partial_run(recipe: Recipe, out: str | os.PathLike[str], *, start: Start) -> Iterator[Partial]:
    """Keeps the state of a run into `out` while inside; it is gone when the run is whole or nothing was kept.

    FileError if there is the state of an interrupted run and it is not to be resumed, or none that is, or that of another
    recipe; InvalidValue to resume a method that keeps none.
    """
    if not keeps_state(recipe):
        if start == "resume":
            raise InvalidValue(f"{recipe.method} keeps no state to resume from; leave --resume out")
        yield Partial(None, {})
        return
    folder = partial_folder(out)
    if start == "resume" and not os.path.isdir(folder):
        raise FileError(f"there is no interrupted run to resume: {folder} does not exist; leave --resume out")
    with held_folder(folder):
        if is_whole(Path(out)) and is_of(folder, recipe):
            _remove(folder)  # killed at the very end
            raise FileError(f"{out} holds the whole run already; name a new folder")
        kept = _opened(recipe, folder, start=start)
        try:
            yield kept
        except KeyboardInterrupt:
            if kept.empty:
                _remove(folder)
                raise
            raise Interrupted(f"what was done so far is in {folder}; the same command with --resume goes on") from None
        except BaseException:
            if kept.empty:
                _remove(folder)
            raise
        _remove(folder)


def _opened(recipe: Recipe, folder: Path, *, start: Start) -> Partial:
    names = option_names(recipe.method)
    # A picture of the history needs matplotlib; a run does not.
    drawn = {"curves": "curves.svg"} if find_spec("matplotlib") is not None else {}
    files = {name: str(folder / file) for name, file in {**OWN_FILES, **drawn}.items() if name in names}
    kept = Partial(folder, files)
    if start == "new" and not kept.empty:
        raise FileError(
            f"{folder} holds the state of an interrupted run; go on with --resume, name another folder, or remove it"
        )
    if not kept.empty and not is_of(folder, recipe):
        raise FileError(
            f"{folder} holds the state of another run: its {RECIPE_FILE} differs from what is asked for now"
        )
    remove_leftovers_in(folder)
    write_bytes(folder / RECIPE_FILE, encode(recipe.to_json()))
    return kept


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a run that was finished: its manifest is written last."""
    return os.path.lexists(folder / MANIFEST_FILE)


def is_of(folder: Path, recipe: Recipe) -> bool:
    """Whether a partial folder is that of a recipe."""
    if not os.path.isfile(folder / RECIPE_FILE) or is_whole(folder):
        return False
    # How much memory may be taken changes nothing about the result.
    return Recipe.read(folder / RECIPE_FILE).with_changes(memory_limit=None) == recipe.with_changes(memory_limit=None)


def _remove(folder: Path) -> None:
    """Removes what a run keeps on the way, and the folder unless somebody put something else into it."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if any(fnmatch(path.name, pattern) for pattern in OF_A_STATE):
                path.unlink()
        folder.rmdir()
