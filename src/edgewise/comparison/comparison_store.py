"""ComparisonStore: where a comparison keeps what is finished, method by method, so that a killed one goes on from there.

Every method has a folder that appears whole or not at all (scores, circuits, seconds), and in it, once they are measured,
the values of its circuits. What a comparison of another recipe, model or data left is refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from edgewise.circuit import Circuit
from edgewise.comparison.compare_recipe import CompareRecipe, Entry
from edgewise.comparison.method_run import MethodOutcome
from edgewise.comparison.part_documents import AreasDocument, GridDocument, SampleDocument
from edgewise.comparison.result import Measured
from edgewise.comparison.sample import Sample
from edgewise.contract import Found
from edgewise.errors import FileError, InvalidValue
from edgewise.evaluation import Grid
from edgewise.formats.reading import CURVE_FILE, FOUND_FILE, METHODS_FOLDER, SCORES_FILE
from edgewise.formats.run_documents import MeasuresDocument, PartDocument
from edgewise.runs.recipe import RECIPE_FILE
from edgewise.scores import Scores
from edgewise.store.disk import accessible, new_folder, unwritten, write_bytes
from edgewise.store.files import read, save
from edgewise.store.manifest import give_up_broken, read_document
from edgewise.store.schema import dump, encode, plain
from edgewise.store.targets import is_temporary, refuse_link, remove_leftovers_in

AREAS_FILE, GRID_FILE, SAMPLE_FILE = "areas.json", "grid.json", "sample.json"
PARTIAL_FOLDER = "unfinished"


@final
@dataclass(frozen=True)
class ComparisonStore:
    """Finished parts of one comparison in `folder`; without a folder nothing is kept. `key` is what they are of."""

    folder: Path | None = None
    key: Mapping[str, Any] = field(default_factory=dict)

    def has(self, entry: Entry) -> bool:
        """Whether the method is done."""
        return self.folder is not None and (self.folder / METHODS_FOLDER / entry.folder / FOUND_FILE).is_file()

    def has_measures(self, entry: Entry, *, areas: bool) -> bool:
        """Whether its circuits are measured, and its areas where these are wanted."""
        if self.folder is None:
            return False
        place = self.folder / METHODS_FOLDER / entry.folder
        return (place / CURVE_FILE).is_file() and (not areas or (place / AREAS_FILE).is_file())

    def has_file(self, name: str) -> bool:
        """Whether a part that is measured once for all methods is there: SAMPLE_FILE, GRID_FILE."""
        return self.folder is not None and (self.folder / name).is_file()

    def kept(self, entry: Entry) -> MethodOutcome:
        """What a method that is done found."""
        return self.outcome(entry, _nothing)

    def outcome(self, entry: Entry, find: Callable[[Entry], MethodOutcome]) -> MethodOutcome:
        """What the method found: read, if it is there, else found now and kept."""
        if self.folder is None:
            return find(entry)
        place = self.folder / METHODS_FOLDER / entry.folder
        if self.has(entry):
            return self._read(entry, place)
        outcome = find(entry)
        with new_folder(place) as fresh:
            self._write(outcome, fresh)
        if partial := self.partial(entry):
            shutil.rmtree(partial, ignore_errors=True)
        return outcome

    def curve(
        self, outcome: MethodOutcome, measure: Callable[[MethodOutcome], tuple[Measured, ...]]
    ) -> tuple[Measured, ...]:
        """The measured circuits of a method: read, if they are there, else measured now and kept."""
        if self.folder is None:
            return measure(outcome)
        path = self.folder / METHODS_FOLDER / outcome.entry.folder / CURVE_FILE
        if path.is_file():
            document = read_document(MeasuresDocument, path)
            return tuple(Measured(**point.model_dump()) for point in document.curve)
        curve = measure(outcome)
        write_bytes(path, encode(dump({"curve": [vars(point) for point in curve]})))
        return curve

    def areas(
        self, outcome: MethodOutcome, measure: Callable[[MethodOutcome], Mapping[str, float | None]]
    ) -> Mapping[str, float | None]:
        """The areas of a method: read, if they are there, else measured now and kept."""
        if self.folder is None:
            return measure(outcome)
        path = self.folder / METHODS_FOLDER / outcome.entry.folder / AREAS_FILE
        if path.is_file():
            return read_document(AreasDocument, path).model_dump()
        areas = measure(outcome)
        write_bytes(path, encode(dump(areas)))
        return areas

    def grid(self, measure: Callable[[], Grid]) -> Grid:
        """The grid of thresholds: read, if it is there, else measured now and kept."""
        if self.folder is None:
            return measure()
        path = self.folder / GRID_FILE
        if path.is_file():
            document = read_document(GridDocument, path)
            return Grid(document.level, tuple(point.point() for point in document.points))
        grid = measure()
        write_bytes(path, encode(dump(grid.to_dict())))
        return grid

    def sample(self, measure: Callable[[], Sample]) -> Sample:
        """The exact effects of some edges: read, if they are there, else measured now and kept."""
        if self.folder is None:
            return measure()
        path = self.folder / SAMPLE_FILE
        if path.is_file():
            document = read_document(SampleDocument, path)
            return Sample(tuple(document.edges), tuple(document.effects))
        sample = measure()
        write_bytes(path, encode(dump(sample.to_dict())))
        return sample

    def partial(self, entry: Entry) -> Path | None:
        """The folder in which a method keeps how far it has come."""
        return None if self.folder is None else self.folder / PARTIAL_FOLDER / entry.folder

    # -- one method -------------------------------------------------------------------------------------------------

    def _write(self, outcome: MethodOutcome, place: Path) -> None:
        save(outcome.scores, place / SCORES_FILE)
        names = [f"circuit-{number:02d}.json" for number in range(len(outcome.circuits))]
        for name, circuit in zip(names, outcome.circuits, strict=True):
            save(circuit, place / name)
        document = PartDocument(
            key=plain(self.key),
            entry=plain(outcome.entry.portable()),
            seconds=outcome.seconds,
            dial=outcome.size_option,
            values=list(outcome.values),
            circuits=names,
        )
        write_bytes(place / FOUND_FILE, encode(dump(document)))

    def _read(self, entry: Entry, place: Path) -> MethodOutcome:
        found = read_document(PartDocument, place / FOUND_FILE)
        if not _is_of(found.entry, entry) or found.key != plain(self.key):
            raise FileError(f"{place} was made with another model, other prompts or other options; name a new folder")
        scores, circuits = read(place / SCORES_FILE), [read(place / name) for name in found.circuits]
        kept = tuple(circuit for circuit in circuits if isinstance(circuit, Circuit))
        if not isinstance(scores, Scores) or len(kept) != len(circuits) or len(kept) != len(found.values):
            raise FileError(f"{place} is damaged: its files do not fit together; delete it, or name a new folder")
        return MethodOutcome(entry, Found(scores, kept, found.dial, tuple(found.values)), found.seconds)


def finished(folder: Path) -> list[MethodOutcome]:
    """What every finished method of a comparison found, in the order of its recipe."""
    entries = CompareRecipe.read(folder / RECIPE_FILE).methods
    places = [(entry, folder / METHODS_FOLDER / entry.folder / FOUND_FILE) for entry in entries]
    keys = [(entry, read_document(PartDocument, place).key) for entry, place in places if place.is_file()]
    return [ComparisonStore(folder, key).kept(entry) for entry, key in keys]


def _nothing(entry: Entry) -> MethodOutcome:
    raise FileError(f"{entry.name} has not finished")


def _is_of(fields: dict[str, Any], entry: Entry) -> bool:
    """Whether fields are those of an entry, wherever that keeps files."""
    try:
        return Entry.of(**fields).portable() == entry.portable()
    except InvalidValue:
        return False


def check_folder(folder: Path, recipe: CompareRecipe) -> None:
    """FileError if the folder holds anything but an earlier, perhaps unfinished, comparison of this recipe."""
    with accessible(folder):
        if not os.path.lexists(folder) or (folder.is_dir() and all(map(is_temporary, folder.iterdir()))):
            return
        if not folder.is_dir():
            raise FileError(f"{folder} already exists and is not a folder; name a new one")
        begun = (folder / RECIPE_FILE).is_file()
    if not begun:
        raise FileError(f"{folder} already exists and holds no comparison; name a new folder")
    if CompareRecipe.read(folder / RECIPE_FILE).portable() != recipe.portable():
        raise FileError(
            f"{folder} holds a comparison of another recipe; name a new folder, or give --recipe {folder}/recipe.json"
        )


def open_store(folder: Path, recipe: CompareRecipe, key: Mapping[str, Any]) -> ComparisonStore:
    """The store in a folder, made if it is not there, without what a killed process left half done."""
    check_folder(folder, recipe)
    with unwritten(folder):
        folder.mkdir(parents=True, exist_ok=True)
        give_up_broken(folder)
    if not (folder / RECIPE_FILE).is_file():
        write_bytes(folder / RECIPE_FILE, encode(recipe.to_json()))  # first: it says what the folder is begun for
    with unwritten(folder):
        for name in (METHODS_FOLDER, PARTIAL_FOLDER):
            refuse_link(folder / name)
            (folder / name).mkdir(parents=True, exist_ok=True)
        places = [
            folder,
            *(path for name in (METHODS_FOLDER, PARTIAL_FOLDER) for path in sorted((folder / name).iterdir())),
        ]
        for place in (*places, folder / METHODS_FOLDER, folder / PARTIAL_FOLDER):
            refuse_link(place)
            remove_leftovers_in(place)
    return ComparisonStore(folder, key)
