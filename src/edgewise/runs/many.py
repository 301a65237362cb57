"""Many runs, each in a folder of its own: every model with every task, method and seed, by the workers of an executor.

What is finished stays: the same runs below the same folder do only what is missing. One that fails keeps no other from being
done.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, final

from edgewise.errors import EdgewiseError, FileError
from edgewise.executors import each_done
from edgewise.formats.reading import REPORT_FILE
from edgewise.formats.run_documents import ReportDocument
from edgewise.progress import Track, silent
from edgewise.runs.dry_run import RunEstimate, dry_run
from edgewise.runs.job import prepare
from edgewise.runs.partial import is_of, partial_folder
from edgewise.runs.recipe import RECIPE_FILE, Recipe
from edgewise.runs.run import run
from edgewise.store.disk import accessible
from edgewise.store.manifest import read_document
from edgewise.store.targets import component


@final
@dataclass(frozen=True)
class Cell:
    """One of many runs: its recipe, its folder, and what kept it from being done, if something did."""

    recipe: Recipe
    folder: Path
    problem: str | None = None

    @property
    def done(self) -> bool:
        """Whether the folder holds the whole run."""
        with accessible(self.folder):
            return (self.folder / REPORT_FILE).is_file()

    def row(self) -> dict[str, Any]:
        """What was asked, and what came out, as plain values."""
        asked = self.recipe
        row: dict[str, Any] = {
            "model": asked.model,
            "prompts": asked.prompts,
            "method": asked.method,
            "seed": asked.seed,
            "folder": str(self.folder),
        }
        if self.problem is not None or not self.done:
            return {**row, "problem": self.problem or "not done"}
        report = read_document(ReportDocument, self.folder / REPORT_FILE)
        metric, measured = next(iter(report.metrics.items()))
        return {**row, "edges": report.edges, "metric": metric, "faithfulness": measured.faithfulness}


def every(recipe: Recipe, axes: Mapping[str, Sequence[Any]]) -> list[Recipe]:
    """The recipe with every combination of the values of its fields that `axes` names; the last of them changes fastest."""
    return [recipe.with_changes(**dict(zip(axes, values, strict=True))) for values in product(*axes.values())]


def run_many(
    recipes: Sequence[Recipe],
    root: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    track: Track = silent,
) -> list[Cell]:
    """Runs each recipe in a folder of its own below `root`, but for those whose folder is whole already.

    An interrupted run goes on where its method keeps its state. With an `executor` (of `concurrent.futures`, or of dask) runs
    stand beside one another; workers on other machines need `root` on a disk that they share. Every recipe is checked before
    the first run begins.

    Returns a Cell for each, in their order; `problem` says what kept one from being done.
    """
    cells = _checked_cells(recipes, root)
    missing = _missing(cells)
    problems = {
        cell.folder: problem for cell, problem in each_done(_problem, missing, executor, track, f"{len(missing)} runs")
    }
    return [Cell(cell.recipe, cell.folder, problems.get(cell.folder)) for cell in cells]


@final
@dataclass(frozen=True)
class Alike:
    """Runs that differ in their seed alone and are not done yet: how many, and what each of them would take."""

    runs: int
    recipe: Recipe
    each: RunEstimate

    def row(self) -> dict[str, Any]:
        """What is asked, and what it would take, as plain values: seconds of all of them, bytes of one."""
        asked, each = self.recipe, self.each
        return {
            "prompts": asked.prompts,
            "model": asked.model,
            "method": asked.method,
            "size": asked.size,
            "runs": self.runs,
            "memory": each.memory,
            "seconds": self.runs * each.seconds,
        }


def estimate_many(recipes: Sequence[Recipe], root: str | os.PathLike[str], *, track: Track = silent) -> list[Alike]:
    """What is missing of `run_many`, and what it would take; nothing is written. Raises what that would before it begins."""
    alike: dict[str, list[Recipe]] = defaultdict(list)
    for cell in _missing(_checked_cells(recipes, root)):
        alike[cell.recipe.with_changes(seed=0).to_json()].append(cell.recipe)
    return [Alike(len(group), group[0], dry_run(group[0], track=track)) for group in alike.values()]


def _checked_cells(recipes: Sequence[Recipe], root: str | os.PathLike[str]) -> list[Cell]:
    """A cell for each recipe; what is wrong with one of them is raised."""
    cells = [Cell(recipe, Path(root) / folder_name(recipe)) for recipe in recipes]
    for cell in cells:
        prepare(cell.recipe)
        _check(cell)
    return cells


def _missing(cells: Sequence[Cell]) -> list[Cell]:
    """Those whose folder is not whole, each folder once."""
    return list({cell.folder: cell for cell in cells if not cell.done}.values())


def folder_name(recipe: Recipe) -> str:
    """`<prompts>-<model>-<method>-<seed>-` and six digits that stand for the whole recipe."""
    digest = hashlib.sha256(recipe.to_json().encode()).hexdigest()[:6]
    parts = (recipe.prompts, recipe.model.rstrip("/").rpartition("/")[2], recipe.method, str(recipe.seed))
    return f"{component('-'.join(map(component, parts)))}-{digest}"


def _check(cell: Cell) -> None:
    """FileError for a folder that holds something else than this run."""
    if not os.path.lexists(cell.folder):
        return
    recipe = cell.folder / RECIPE_FILE
    if not os.path.isfile(recipe) or Recipe.read(recipe).portable() != cell.recipe.portable():
        raise FileError(f"{cell.folder} exists and holds something else; name a new folder with --out")


def _problem(cell: Cell) -> str | None:
    """Does the run; what kept it from being done, if something did."""
    try:
        interrupted = is_of(partial_folder(cell.folder), cell.recipe)
        run(cell.recipe, cell.folder, start="resume" if interrupted else "new")
    except EdgewiseError as error:
        return str(error)
    return None


def failed(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Those that were not done."""
    return (cell for cell in cells if cell.problem is not None)
