"""What a comparison would take, without making it: every loop of every method is begun, timed for a moment, and left."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.comparison.case_study import heads
from edgewise.comparison.compare_recipe import CompareRecipe
from edgewise.comparison.comparison_job import ComparisonJob
from edgewise.comparison.comparison_store import GRID_FILE, SAMPLE_FILE, ComparisonStore
from edgewise.comparison.entry import Entry
from edgewise.comparison.from_recipe import check_given, job_of, prepared
from edgewise.comparison.method_run import request_of
from edgewise.comparison.reference import Reference
from edgewise.methods import method
from edgewise.progress import Track, silent
from edgewise.runs.dry_run import Begun, Stage, memory_of
from edgewise.surroundings import neutrally


@final
@dataclass(frozen=True)
class PartEstimate:
    """What one method of a comparison would take, or what is measured beside all methods.

    `memory`: bytes at the most, model included; 0 where nothing is searched. `stages`: where time goes; `seconds`: all of it.
    `untold`: why what comes after the last stage could not be timed, if so.
    """

    name: str
    cost: str
    memory: int
    stages: tuple[Stage, ...]
    seconds: float
    untold: str = ""

    @classmethod
    def of(cls, name: str, cost: str, memory: int, begun: Begun) -> PartEstimate:
        """What the beginnings of its loops tell."""
        seconds = begun.besides + sum(stage.seconds for stage in begun.merged)
        return cls(name, cost, memory, begun.merged, seconds, begun.untold)

    def to_dict(self) -> dict[str, Any]:
        """The values as a dictionary for JSON."""
        return {**vars(self), "stages": [vars(stage) for stage in self.stages]}


@final
@dataclass(frozen=True)
class ComparisonEstimate:
    """What a comparison would take.

    `edges`: how many the model has. `examples`, `held_out`: how many pairs circuits are found and judged on. `parts`: what
    is not done yet. `seconds`: all of it, one after the other, loading the model included.
    """

    model: str
    edges: int
    prompts: str
    examples: int
    held_out: int
    parts: tuple[PartEstimate, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The values as a dictionary for JSON."""
        return {**vars(self), "parts": [part.to_dict() for part in self.parts]}


@typed
@neutrally
def estimate_comparison(
    recipe: CompareRecipe, out: str | os.PathLike[str] | None = None, *, track: Track = silent
) -> ComparisonEstimate:
    """What `run_comparison` would do and take; nothing is written. What is finished in the folder `out` counts as done.

    `track`: shows how far loading is. Raises what the comparison would before it computes anything.
    """
    started, folder = time.perf_counter(), Path(out) if out is not None else None
    setting = prepared(recipe, folder)
    job = job_of(recipe, setting, track)
    kept = ComparisonStore(folder, job.request.key)
    check_given(recipe, kept)
    before = time.perf_counter() - started
    parts = [_of_entry(job, kept, entry) for entry in job.planned if not _is_done(job, kept, entry)]
    job = replace(
        job,
        exact_sample=None if kept.has_file(SAMPLE_FILE) else job.exact_sample,
        grid=None if kept.has_file(GRID_FILE) else job.grid,
    )
    if job.exact_sample is not None or job.grid is not None:
        parts.append(PartEstimate.of("for all methods", "", 0, Begun.of(lambda track: _for_all(_timed(job, track)))))
    return ComparisonEstimate(
        model=job.request.subject.name,
        edges=job.request.subject.graph.n_edges,
        prompts=recipe.prompts,
        examples=len(job.request.pairs),
        held_out=0 if job.judged is None else len(job.judged),
        parts=tuple(parts),
        seconds=before + sum(part.seconds for part in parts),
    )


def _is_done(job: ComparisonJob, kept: ComparisonStore, entry: Entry) -> bool:
    """Whether nothing of it is missing; the heads of circuits are studied each time."""
    if not kept.has(entry) or entry not in job.entries:
        return kept.has(entry)
    return kept.has_measures(entry, areas=job.with_areas) and (job.heads is None or entry.method == "random")


def _of_entry(job: ComparisonJob, kept: ComparisonStore, entry: Entry) -> PartEstimate:
    """What it takes to find what one method finds, and to measure that, where it is not done yet."""
    begun = Begun.of(lambda track: _find_and_measure(_timed(job, track), kept, entry))
    if entry.scores is not None:
        return PartEstimate.of(entry.name, "given", 0, begun)
    chosen = method(entry.method, entry.options)
    memory = memory_of(chosen, request_of(entry, job.request, job.sizes))
    return PartEstimate.of(entry.name, chosen.cost, memory, begun)


def _find_and_measure(job: ComparisonJob, kept: ComparisonStore, entry: Entry) -> None:
    outcome = kept.kept(entry) if kept.has(entry) else job.find(entry)
    if entry not in job.entries:  # exact effects that a reference needs
        return
    if not kept.has_measures(entry, areas=job.with_areas):
        job.measure(outcome)
    if job.heads is not None:
        heads([outcome], job.heads, job.request, replaced=1.0)


def _for_all(job: ComparisonJob) -> None:
    """What is measured once, for all methods."""
    if job.exact_sample is not None:
        job.measure_sample()
    if job.grid is not None:
        graph = job.request.subject.graph
        unknown = Circuit.from_edges(graph, graph.edges[:1])  # it is known once all effects are measured
        job.measure_thresholds(job.reference.circuit if isinstance(job.reference, Reference) else unknown)


def _timed(job: ComparisonJob, track: Track) -> ComparisonJob:
    """The comparison with loops that a track watches."""
    return replace(job, request=replace(job.request, track=track))
