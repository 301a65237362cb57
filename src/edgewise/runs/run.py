"""From a recipe to a run folder: load, make pairs, find, select, evaluate, save."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.contract import Found, best_scored
from edgewise.curve import Curve
from edgewise.engine.tiling import using_products
from edgewise.errors import InvalidValue, NumericalError
from edgewise.evaluation import Bootstrap, bootstrap, curve_sizes, faithfulness_curve, select
from edgewise.evaluation.attention_patterns import attention_of
from edgewise.evaluation.bootstrap import resampled_method
from edgewise.methods import run_method
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent
from edgewise.ranks import current
from edgewise.request import LOCAL, Request
from edgewise.runs.folder import Run, write
from edgewise.runs.job import Job, prepare
from edgewise.runs.judged import first_pairs, report_on, reported_metrics, shown_faithfulness, time_spent, warnings_of
from edgewise.runs.partial import Start, default_folder, partial_run
from edgewise.runs.recipe import Recipe
from edgewise.store.disk import filled, held_folder, write_bytes
from edgewise.store.opening import read_bytes
from edgewise.surroundings import neutrally
from edgewise.sweeps import Sweep

__all__ = ["Run", "compute", "default_folder", "reported_metrics", "run"]


@typed
@neutrally
def run(
    recipe: Recipe, out: str | os.PathLike[str] | None = None, *, track: Track = silent, start: Start = "new"
) -> Run:
    """Runs a recipe and leaves a whole run folder at `out`, or nothing; without `out` nothing is written.

    Every name in the recipe, the data file and the folder are checked before anything is computed. A long method keeps its
    state in `<out>.partial` meanwhile, with which `start="resume"` goes on after a kill. Of several ranks the first writes.
    """
    job = prepare(recipe)
    if out is None or not current().first:
        return compute(job, track)
    with held_folder(out) as place, partial_run(recipe, out, start=start) as partial, filled(place) as folder:
        done = compute(job, track, partial.options)
        for path in partial.results:
            write_bytes(folder / path.name, read_bytes(path))
        files = write(done, folder)
    return replace(done, folder=Path(out), files=files)


def compute(
    job: Job,
    track: Track = silent,
    own_files: Mapping[str, str] = MappingProxyType({}),
    *,
    subject: Subject | None = None,
) -> Run:
    """Load, make pairs, find the circuit, evaluate it. `own_files`: options of the method that name files it keeps.

    `subject`: the model, where it is loaded already.
    """
    started, asked, setting = time.perf_counter(), job.recipe, job.setting
    subject = subject or setting.model.load(track)
    loaded = time.perf_counter()
    job = job.on(subject)
    recipe = job.recipe
    pairs = setting.source.pairs(subject.tokenizer)
    reported, request = setting.reported_metric(pairs), job.request(subject, pairs, track)
    held_out = setting.source.held_out(subject.tokenizer, pairs)
    with using_products(recipe.products):
        found = run_method(replace(job.method, **own_files), request)  # type: ignore[type-var]
    finding, before = time.perf_counter(), request.seconds_before
    found = found.with_provenance(**_origin(recipe, subject, pairs))
    # Where memory held no more pairs at once, an evaluation does not try to.
    request = replace(request, batch_size=min(request.batch_size, request.notes.get("fitting_batch_size", math.inf)))
    judged = request if held_out is None else replace(request, pairs=held_out)
    sweep = found.sweep or _cut(job, found)
    if sweep is not None and recipe.sizes is not None:
        circuit = sweep.circuits[-1]
    else:
        circuit = _circuit(job, judged, found, reported)
    report = report_on(judged, circuit, reported, recipe.seed)
    spent = {
        "loading": loaded - started,
        **time_spent(sweep.circuits if sweep else (circuit,), finding - loaded + before),
    }
    others = [report_on(judged, swept, reported, None) for swept in (sweep.circuits if sweep else ())]
    done = Run(
        recipe=asked,
        model=subject.identity,
        data=pairs.fingerprint,
        scores=found.scores,
        circuit=circuit.with_provenance(faithfulness=shown_faithfulness(report, reported), **warnings_of(report)),
        report=report,
        found_on=None if held_out is None else report_on(first_pairs(request), circuit, reported, None),
        sweep=sweep,
        sweep_reports=tuple(others),
        curve=_curve(job, judged, found, reported, circuit),
        stability=_stability(job, request, circuit, reported),
        attention=attention_of(subject, circuit, pairs),
        seconds=0.0,
    )
    ended = time.perf_counter()
    return replace(done, seconds=ended - started + before, spent={**spent, "evaluation": ended - finding})


# -- steps ------------------------------------------------------------------------------------------------------------


def _origin(recipe: Recipe, subject: Subject, pairs: Pairs) -> dict[str, Any]:
    """What only the recipe knows, for the provenance."""
    prompts = {} if recipe.task else {"data_file": recipe.data}
    facts = {**prompts, "seed": recipe.seed, "examples": len(pairs), "d_model": subject.d_model}
    return {**facts, "recipe": recipe.portable()}


def _circuit(job: Job, judged: Request, found: Found, reported: str) -> Circuit:
    """The circuit of the size that was asked for, or the smallest one that keeps enough of the pairs it is judged on.

    Where nobody asked for either and no size keeps enough, a tenth of all edges; the selection then says why.
    """
    recipe = job.recipe
    if job.share is None or found.scores is None:
        return found.circuit(recipe.size, level=recipe.level, absolute=job.absolute)
    try:
        return select(
            judged.subject,
            found.scores,
            judged.pairs,
            faithfulness=job.share,
            absolute=job.absolute,
            metric=reported,
            ablation=judged.ablation,
            batch_size=judged.batch_size,
            track=judged.track,
        )
    except (InvalidValue, NumericalError) as error:
        if recipe.faithfulness != "auto":
            raise
        circuit = found.circuit(absolute=job.absolute)
        return circuit.with_provenance(selection={**circuit.provenance["selection"], "otherwise": str(error)})


def _cut(job: Job, found: Found) -> Sweep | None:
    """The circuits of several sizes of a method that scores edges, if these were asked for."""
    if job.recipe.sizes is None:
        return None
    circuits = [found.circuit(size, absolute=job.absolute) for size in job.wanted.sizes]
    total = circuits[0].graph.n_edges
    return Sweep("sparsity", tuple(1 - size / total for size in job.wanted.sizes), tuple(circuits))


def _curve(job: Job, request: Request, found: Found, reported: str, circuit: Circuit) -> Curve | None:
    """What circuits of growing size keep, of a method that scores edges; those too among which the circuit was chosen."""
    recipe, scores = job.recipe, found.scores
    if scores is None or scores.level != "edges" or not recipe.curve:
        return None
    sizes = curve_sizes(scores.graph, recipe.curve)
    tried = circuit.provenance.get("selection", {}).get("tried", ())
    return faithfulness_curve(
        request.subject,
        [best_scored(scores, size, absolute=job.absolute) for size in sizes],
        request.pairs,
        sizes=sizes,
        known={one["size"]: one["faithfulness"] for one in tried},
        metric=reported,
        ablation=request.ablation,
        ranking=recipe.ranking,
        batch_size=request.batch_size,
        random=recipe.seed,
        track=request.track,
    )


def _stability(job: Job, request: Request, circuit: Circuit, reported: str) -> Bootstrap | None:
    if job.resampling is None:
        return None
    # Files of a method are those of a run on all examples, not on one.
    no_files = {option.name: option.default for option in fields(job.method) if option.name in LOCAL}  # type: ignore[arg-type]
    with using_products(job.recipe.products):
        return bootstrap(
            request.subject,
            request.pairs,
            edges=int(circuit.provenance["edges"]["selected"]),
            method=resampled_method(replace(job.method, **no_files)),  # type: ignore[type-var]
            metric=reported,
            ablation=request.ablation,
            resampling=job.resampling,
            track=request.track,
        )
