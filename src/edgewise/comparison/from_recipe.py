"""From a recipe of a comparison to its folder: load, compare, write. A run that was killed goes on where it was."""

from __future__ import annotations

import os
import time
from concurrent.futures import Executor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import torch

from edgewise.comparison.compare import with_baseline
from edgewise.comparison.compare_recipe import CompareRecipe, entries_on, sizes_on
from edgewise.comparison.comparison import Comparison
from edgewise.comparison.comparison_job import ComparisonJob
from edgewise.comparison.comparison_store import PARTIAL_FOLDER, ComparisonStore, check_folder, open_store
from edgewise.comparison.entry import given_scores
from edgewise.comparison.insights import Insights, drawn, insights
from edgewise.comparison.plots import plots
from edgewise.comparison.reference import check_wanted, sample_size, settle
from edgewise.comparison.tables import interpolation_table, long_table, tables
from edgewise.display import clean
from edgewise.errors import FileError, InvalidValue
from edgewise.figures import need_matplotlib
from edgewise.formats.reading import METHODS_FOLDER, REFERENCE_FILE, TABLE_FILE
from edgewise.metrics import metric
from edgewise.progress import Track, silent
from edgewise.provenance import versions
from edgewise.ranks import current
from edgewise.request import Request
from edgewise.runs.partial import free_folder
from edgewise.runs.resolved import ResolvedSetting, resolve
from edgewise.store.disk import held_folder, unwritten, write_bytes
from edgewise.store.files import save
from edgewise.store.manifest import MANIFEST, MANIFEST_FILE, file_hash
from edgewise.store.schema import VERSION, dump, encode
from edgewise.store.targets import is_temporary

COMPARISON_FILE, FIGURES_FILE = "comparison.json", "figures.json"
FIGURES = "edgewise/figures"


@final
@dataclass(frozen=True)
class Finished:
    """A comparison, and where its files are."""

    recipe: CompareRecipe
    comparison: Comparison
    seconds: float
    folder: Path | None = None
    files: tuple[str, ...] = ()


def run_comparison(
    recipe: CompareRecipe,
    out: str | os.PathLike[str] | None = None,
    *,
    executor: Executor | None = None,
    track: Track = silent,
) -> Finished:
    """Makes the comparison of a recipe in the folder `out`; without `out` nothing is written.

    Every name in the recipe, its files and the folder are checked before anything is computed. What is finished is kept at
    once: the same recipe in the same folder computes only what is missing. FileError for the folder of another recipe.
    An `executor` runs the methods beside one another.
    """
    if current().count > 1:
        raise InvalidValue("a comparison is no work that ranks share: start it in one process, without torchrun")
    started, folder = time.perf_counter(), Path(out) if out is not None else None
    setting = prepared(recipe, folder)
    with held_folder(folder) if folder is not None else nullcontext():
        job = job_of(recipe, setting, track)
        store = ComparisonStore() if folder is None else open_store(folder, recipe, job.request.key)
        check_given(recipe, store)
        job = replace(job, store=store, executor=executor)
        try:
            comparison = job.comparison()
            files = write(recipe, comparison, insights(comparison, job.request), folder) if folder is not None else ()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_where_it_stands(folder)) from None
    return Finished(recipe, comparison, time.perf_counter() - started, folder, files)


def _where_it_stands(folder: Path | None) -> str:
    if folder is None:
        return ""
    return f"what is finished is kept in {folder}, and the same command goes on from there"


def default_folder(recipe: CompareRecipe) -> Path:
    """`runs/compare-<task>-<model>`: with a number appended if that is another comparison's."""
    return free_folder(("compare", recipe.prompts, recipe.model), free=lambda folder: _usable(folder, recipe))


def _usable(folder: Path, recipe: CompareRecipe) -> bool:
    try:
        check_folder(folder, recipe)
    except FileError:
        return False
    return True


def prepared(recipe: CompareRecipe, out: Path | None) -> ResolvedSetting:
    """What the recipe's setting names; all that can be refused before a model is loaded is."""
    setting = resolve(recipe)
    with_baseline(recipe.methods, recipe.seed)
    check_wanted(recipe.reference, recipe.task)
    if recipe.pictures and out is not None:
        need_matplotlib()
    if out is not None:
        check_folder(out, recipe)
    return setting


def job_of(recipe: CompareRecipe, setting: ResolvedSetting, track: Track) -> ComparisonJob:
    """The comparison that a recipe asks for, on the model that it names; nothing of it is kept so far."""
    subject, source = setting.model.load(track), setting.source
    sizes = sizes_on(subject.graph, recipe.edges)
    reference = settle(recipe.reference, subject, recipe.task)
    pairs = source.pairs(subject.tokenizer)
    going_by = metric(setting.reported_metric(pairs))
    request = Request(subject, pairs, going_by, setting.ablation, setting.batch_size, track)
    heads = sizes_on(subject.graph, [recipe.heads])[0] if recipe.heads is not None else None
    judged = source.held_out(subject.tokenizer, pairs)
    return ComparisonJob(
        request,
        with_baseline(entries_on(subject.graph, recipe.methods), recipe.seed),
        reference,
        sizes,
        ComparisonStore(),
        heads,
        recipe.grid,
        judged,
        sample_size(recipe.exact_sample, recipe.reference, reference),
        with_areas=recipe.areas == "mib",
    )


def check_given(recipe: CompareRecipe, store: ComparisonStore) -> None:
    """FileError if a file of scores holds others by now than those that were compared from it before."""
    for entry in recipe.methods:
        if entry.scores is None or not store.has(entry):
            continue
        if not torch.equal(store.kept(entry).scores.values, given_scores(entry).values):
            raise FileError(
                f"{store.folder} was made with other scores than {entry.scores} holds now; name a new folder"
            )


def write(recipe: CompareRecipe, comparison: Comparison, found: Insights, folder: Path) -> tuple[str, ...]:
    """The documents, tables and pictures of a comparison, and last the manifest with the hash of every file."""
    with unwritten(folder):
        (folder / MANIFEST_FILE).unlink(missing_ok=True)  # until all is written again, it holds for nothing
    write_bytes(folder / COMPARISON_FILE, encode(dump(comparison.to_dict())))
    write_bytes(folder / TABLE_FILE, encode(markdown(recipe, comparison, found)))
    write_bytes(folder / FIGURES_FILE, encode(dump({"schema": FIGURES, "version": VERSION, **found.to_dict()})))
    if comparison.reference is not None:
        save(comparison.reference.circuit, folder / REFERENCE_FILE)
    for name, data in {**plots(comparison, recipe.pictures), **drawn(found, recipe.pictures)}.items():
        write_bytes(folder / name, data)
    with suppress(OSError):  # something unfinished is in it
        (folder / PARTIAL_FOLDER).rmdir()
    whole = (path for path in sorted(folder.rglob("*")) if path.is_file() and not is_temporary(path))
    files = tuple(name for path in whole if (name := str(path.relative_to(folder))) != MANIFEST_FILE)
    write_bytes(folder / MANIFEST_FILE, encode(dump(_manifest(recipe, comparison, folder, files))))
    return (*(name for name in files if not name.startswith(METHODS_FOLDER)), MANIFEST_FILE)


def markdown(recipe: CompareRecipe, comparison: Comparison, found: Insights) -> str:
    """`table.md`: all tables, and how to make them again."""
    facts = comparison.facts
    head = (
        f"# {clean(recipe.prompts, 90)} in {clean(recipe.model, 90)}\n\n"
        f"{facts['data']['examples']} pairs, seed {recipe.seed}, {facts['ablation']} ablation. "
        f"Circuits are measured on {comparison.judged_on}. Again: `edgewise compare --recipe recipe.json`.\n"
    )
    curves = [interpolation_table(found.interpolations)] if found.interpolations else []
    return "\n".join([head, *(table.markdown() for table in (*tables(comparison), *curves, long_table(comparison)))])


def _manifest(recipe: CompareRecipe, comparison: Comparison, folder: Path, files: tuple[str, ...]) -> dict[str, Any]:
    return {
        "schema": MANIFEST,
        "version": VERSION,
        "recipe": recipe.portable(),
        "repeat": "edgewise compare --recipe manifest.json",
        "versions": versions(),
        "model": comparison.facts["model"],
        "data": comparison.facts["data"],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: file_hash(folder / name) for name in files},
    }
