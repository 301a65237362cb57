"""Shelf: where a comparison keeps what is finished, method by method, so that a killed one goes on from there.

Every method has a folder that appears whole or not at all (scores, circuits, seconds), and in it, once they are measured,
the values of its circuits. What a comparison of another recipe, model or data left is refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgewise.circuit import Circuit
from edgewise.comparison.finding import Outcome
from edgewise.comparison.recipe import CompareRecipe, Entry
from edgewise.comparison.result import Measured
from edgewise.errors import FileError
from edgewise.scores import Scores
from edgewise.store.disk import new_folder, read_bytes, reason, write_bytes
from edgewise.store.files import read, save
from edgewise.store.schema import VERSION, check_version, dump, encode, parse, plain

RECIPE_FILE, FOUND, CURVE, SCORES = "recipe.json", "found.json", "curve.json", "scores.safetensors"
METHODS_FOLDER, PARTIAL_FOLDER = "methods", "unfinished"
PART = "edgewise/comparison-part"


@dataclass(frozen=True)
class Shelf:
    """Finished parts of one comparison in `folder`; without a folder nothing is kept. `key` is what they are of."""

    folder: Path | None = None
    key: Mapping[str, Any] = field(default_factory=dict)

    def outcome(self, entry: Entry, find: Callable[[Entry], Outcome]) -> Outcome:
        """What the method found: read, if it is there, else found now and kept."""
        if self.folder is None:
            return find(entry)
        place = self.folder / METHODS_FOLDER / entry.folder
        if (place / FOUND).is_file():
            return self._read(entry, place)
        outcome = find(entry)
        with new_folder(place) as fresh:
            self._write(outcome, fresh)
        if partial := self.partial(entry):
            partial.unlink(missing_ok=True)
        return outcome

    def curve(self, outcome: Outcome, measure: Callable[[Outcome], tuple[Measured, ...]]) -> tuple[Measured, ...]:
        """The measured circuits of a method: read, if they are there, else measured now and kept."""
        if self.folder is None:
            return measure(outcome)
        path = self.folder / METHODS_FOLDER / outcome.entry.folder / CURVE
        if path.is_file():
            return tuple(Measured(**point) for point in parse(read_bytes(path), str(path))["curve"])
        curve = measure(outcome)
        write_bytes(path, encode(dump({"curve": [vars(point) for point in curve]})))
        return curve

    def partial(self, entry: Entry) -> Path | None:
        """The file in which a method keeps how far it has come."""
        return None if self.folder is None else self.folder / PARTIAL_FOLDER / f"{entry.folder}.part"

    # -- one method -------------------------------------------------------------------------------------------------

    def _write(self, outcome: Outcome, place: Path) -> None:
        save(outcome.scores, place / SCORES)
        names = [f"circuit-{number:02d}.json" for number in range(len(outcome.circuits))]
        for name, circuit in zip(names, outcome.circuits, strict=True):
            save(circuit, place / name)
        found = {
            "schema": PART,
            "version": VERSION,
            "key": self.key,
            "entry": outcome.entry.model_dump(),
            "seconds": outcome.seconds,
            "dial": outcome.dial,
            "values": outcome.values,
            "circuits": names,
        }
        write_bytes(place / FOUND, encode(dump(found)))

    def _read(self, entry: Entry, place: Path) -> Outcome:
        name = str(place / FOUND)
        found = parse(read_bytes(name), name)
        check_version(found.get("version"), name)
        if found.get("entry") != plain(entry.model_dump()) or found.get("key") != plain(self.key):
            raise FileError(
                f"{place} was made on another model, other prompts or with other options; name a new folder"
            )
        scores, circuits = read(place / SCORES), [read(place / one) for one in found["circuits"]]
        if not isinstance(scores, Scores) or not all(isinstance(one, Circuit) for one in circuits):
            raise FileError(f"{place} does not hold what it says; delete it, or name a new folder")
        kept = tuple(one for one in circuits if isinstance(one, Circuit))
        return Outcome(entry, scores, found["seconds"], kept, found["dial"], tuple(found["values"]))


def check_folder(folder: Path, recipe: CompareRecipe) -> None:
    """FileError if the folder holds anything but an earlier, perhaps unfinished, comparison of this recipe."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir():
        raise FileError(f"{folder} exists already and is no folder; name a new one")
    if not (folder / RECIPE_FILE).is_file():
        raise FileError(f"{folder} exists already and is no comparison; name a new folder")
    if CompareRecipe.read(folder / RECIPE_FILE) != recipe:
        raise FileError(
            f"{folder} holds a comparison of another recipe; name a new folder, or give --recipe {folder}/recipe.json"
        )


def open_shelf(folder: Path, recipe: CompareRecipe, key: Mapping[str, Any]) -> Shelf:
    """The shelf in a folder, made if it is not there, without what a killed process left half done."""
    check_folder(folder, recipe)
    try:
        for name in (METHODS_FOLDER, PARTIAL_FOLDER):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for left in [*folder.glob(".*.tmp"), *folder.glob(f"{METHODS_FOLDER}/.*.tmp")]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    except OSError as error:
        raise FileError(f"the folder {folder} cannot be made: {reason(error)}") from None
    if not (folder / RECIPE_FILE).is_file():
        write_bytes(folder / RECIPE_FILE, encode(recipe.to_json()))
    return Shelf(folder, key)
