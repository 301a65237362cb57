"""From a recipe to a run folder: load, make pairs, attribute, select, evaluate, save."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgewise.api import attribute, attribute_nodes, discover, node_method, select, select_level, sweep, unlimited
from edgewise.attribution.memory import memory_size
from edgewise.circuit import Circuit
from edgewise.curve import Curve
from edgewise.errors import InvalidValue
from edgewise.evaluation import Bootstrap, Report, Resampling, bootstrap, curve_sizes, evaluate, faithfulness_curve
from edgewise.evaluation.bootstrap import resampled_method
from edgewise.loading import load
from edgewise.methods import method, method_class, sweep_values
from edgewise.models import Subject
from edgewise.neurons import NeuronCircuit
from edgewise.nodes import NodeScores
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent
from edgewise.request import LOCAL
from edgewise.runs.folder import Run, write
from edgewise.runs.partial import Start, default_folder, partial_run
from edgewise.runs.recipe import Recipe
from edgewise.runs.source import Source, open_source
from edgewise.scores import Scores
from edgewise.search import Search
from edgewise.store.disk import new_folder, write_bytes
from edgewise.sweeps import Sweep

__all__ = ["Run", "compute", "default_folder", "prepare", "reported_metrics", "run"]


def run(
    recipe: Recipe, out: str | os.PathLike[str] | None = None, *, track: Track = silent, start: Start = "new"
) -> Run:
    """Runs a recipe and leaves a whole run folder at `out`, or nothing; without `out` nothing is written.

    Every name in the recipe, the data file and the folder are checked before anything is computed. A long method keeps its
    state in `<out>.partial` meanwhile, with which `start="resume"` goes on after a kill.
    """
    source = prepare(recipe)
    if out is None:
        return compute(source, track)
    with partial_run(recipe, out, start=start) as partial, new_folder(out) as folder:
        found = compute(source, track, partial.options)
        for path in partial.results:
            write_bytes(folder / path.name, path.read_bytes())
        files = write(found, folder)
    return replace(found, folder=Path(out), files=files)


def compute(source: Source[Recipe], track: Track = silent, own_files: Mapping[str, str] = MappingProxyType({})) -> Run:
    """Load, make pairs, find the circuit, evaluate it. `own_files`: options of the method that name files it keeps."""
    started = time.perf_counter()
    recipe = source.recipe
    subject = load(
        recipe.model, dtype=recipe.dtype, device=recipe.device, kv=recipe.kv, adapter=recipe.adapter, track=track
    )
    _check_size(recipe, subject)
    pairs = source.pairs(subject.tokenizer)
    swept, scores, circuit = _find(source, subject, pairs, track, own_files)
    report = _evaluate(source, subject, circuit, pairs, track, recipe.seed)
    others = [_evaluate(source, subject, one, pairs, track, None) for one in (swept.circuits if swept else ())]
    faithfulness = _faithfulness(report, source.metric(pairs))
    circuit = circuit.with_provenance(faithfulness=faithfulness)
    of_edges = circuit if isinstance(circuit, Circuit) else circuit.circuit
    curve = _curve(source, subject, scores, pairs, track) if isinstance(scores, Scores) and recipe.curve else None
    stability = _stability(source, subject, of_edges, pairs, track) if recipe.stability else None
    return Run(
        recipe=recipe,
        model=subject.identity,
        data=pairs.fingerprint,
        scores=scores if isinstance(scores, Scores) else None,
        circuit=of_edges,
        report=report,
        seconds=time.perf_counter() - started,
        sweep=swept,
        sweep_reports=tuple(others),
        curve=curve,
        stability=stability,
        node_scores=scores if isinstance(scores, NodeScores) else None,
        neurons=circuit if isinstance(circuit, NeuronCircuit) else None,
    )


def prepare(recipe: Recipe) -> Source[Recipe]:
    """Checks every name in the recipe and reads its data: all that can be refused before a model is loaded."""
    if recipe.memory_limit is not None:
        memory_size(recipe.memory_limit)
        if issubclass(method_class(recipe.method), Search):
            raise unlimited(recipe.method)
    if sweep_values(recipe.method, recipe.options) is None:
        chosen = method(recipe.method, recipe.options)
        if recipe.level != "edges":
            node_method(chosen)
        if isinstance(chosen, Search):
            chosen.for_edges(recipe.edges)
    elif recipe.level != "edges":
        raise InvalidValue(f"a sweep of {recipe.method} selects edges, no {recipe.level}")
    if recipe.stability:
        _check_stability(recipe)
    return open_source(recipe)


def reported_metrics(first: str) -> list[str]:
    """The metrics a run reports: its own, then those that every circuit is asked for."""
    return list(dict.fromkeys([first, "kl", "accuracy"]))


def _check_size(recipe: Recipe, subject: Subject) -> None:
    """Refuse to score anything for a circuit that could not be selected."""
    graph = subject.graph
    nodes = len(graph.writers) - len(graph.inputs)
    totals = {"edges": graph.n_edges, "nodes": nodes, "neurons": len(graph.writers) * subject.d_model}
    if (recipe.size or 0) > (total := totals[recipe.level]):
        raise InvalidValue(f"asked for {recipe.size:,} {recipe.level}, and {recipe.model} has {total:,}: {graph}")


# -- steps ------------------------------------------------------------------------------------------------------------


def _find(
    source: Source[Recipe], subject: Subject, pairs: Pairs, track: Track, own_files: Mapping[str, str]
) -> tuple[Sweep | None, Scores | NodeScores | None, Circuit | NeuronCircuit]:
    recipe, origin = source.recipe, _origin(source, subject, pairs)
    how = {"ablation": recipe.ablation, "batch_size": recipe.batch_size, "track": track, **recipe.options, **own_files}
    if recipe.level != "edges":
        how |= {"metric": source.metric(pairs), "memory_limit": recipe.memory_limit}
        nodes = attribute_nodes(subject, pairs, method=recipe.method, **how)
        nodes = replace(nodes, provenance={**nodes.provenance, **origin})
        return None, nodes, select_level(nodes, recipe.level, recipe.size or 0, absolute=recipe.ranking == "absolute")
    if (values := sweep_values(recipe.method, recipe.options)) is not None:
        how.pop(str(getattr(method_class(recipe.method), "dial", "")))
        swept = sweep(subject, pairs, method=recipe.method, values=values, metric=recipe.metric, **how)
        swept = replace(swept, circuits=tuple(one.with_provenance(**origin) for one in swept.circuits))
        return swept, swept.scores, select(swept.scores, recipe.edges, absolute=recipe.ranking == "absolute")
    if isinstance(method(recipe.method, recipe.options), Search):
        circuit = discover(subject, pairs, method=recipe.method, metric=recipe.metric, edges=recipe.edges, **how)
        return None, None, circuit.with_provenance(**origin)
    how = {**how, "metric": source.metric(pairs), "memory_limit": recipe.memory_limit}
    scores = attribute(subject, pairs, method=recipe.method, **how)
    scores = Scores(scores.graph, scores.values, {**scores.provenance, **origin})
    return None, scores, select(scores, recipe.edges, absolute=recipe.ranking == "absolute")


def _origin(source: Source[Recipe], subject: Subject, pairs: Pairs) -> dict[str, Any]:
    """What only the recipe knows, for the provenance."""
    recipe = source.recipe
    prompts = {} if recipe.task else {"data_file": recipe.data}
    mine = {**prompts, "seed": recipe.seed, "examples": len(pairs), "d_model": subject.d_model}
    return {**mine, "recipe": recipe.model_dump()}


def _evaluate(
    source: Source[Recipe],
    subject: Subject,
    circuit: Circuit | NeuronCircuit,
    pairs: Pairs,
    track: Track,
    random: int | None,
) -> Report:
    recipe = source.recipe
    how = {"ablation": recipe.ablation, "batch_size": recipe.batch_size, "random": random}
    return evaluate(subject, circuit, pairs, metrics=reported_metrics(source.metric(pairs)), track=track, **how)


def _curve(source: Source, subject: Subject, scores: Scores, pairs: Pairs, track: Track) -> Curve:
    recipe = source.recipe
    absolute = recipe.ranking == "absolute"
    circuits = [scores.top(n, absolute=absolute) for n in curve_sizes(subject.graph, recipe.curve)]
    how = {"ablation": recipe.ablation, "batch_size": recipe.batch_size, "random": recipe.seed, "track": track}
    metric = source.metric(pairs)
    return faithfulness_curve(subject, circuits, pairs, metric=metric, ranking=recipe.ranking, **how)


def _resampling(recipe: Recipe) -> Resampling:
    return Resampling(recipe.stability, recipe.seed, recipe.ranking == "absolute")


def _check_stability(recipe: Recipe) -> None:
    """Refuse, before anything is computed, what could not be drawn again."""
    _resampling(recipe)
    if recipe.level != "edges":
        raise InvalidValue(f"the stability of {recipe.level} is not measured, only that of edges: leave it out")
    if sweep_values(recipe.method, recipe.options) is not None:
        raise InvalidValue(f"a sweep of {recipe.method} scores no single examples: leave the stability out")
    resampled_method(method(recipe.method, recipe.options))
    if recipe.edges == 0 or recipe.examples == 1:
        raise InvalidValue(
            "the stability of no edges, or on a single example, says nothing: ask for more, or leave it out"
        )


def _stability(source: Source[Recipe], subject: Subject, circuit: Circuit, pairs: Pairs, track: Track) -> Bootstrap:
    recipe = source.recipe
    # Files of a method are those of a run on all examples, not on one.
    options = {name: value for name, value in recipe.options.items() if name not in LOCAL}
    return bootstrap(
        subject,
        pairs,
        edges=int(circuit.provenance["edges"]["selected"]),
        method=resampled_method(method(recipe.method, options)),
        metric=source.metric(pairs),
        ablation=recipe.ablation,
        resampling=_resampling(recipe),
        track=track,
    )


def _faithfulness(report: Report, name: str) -> dict[str, Any]:
    return {"metric": name, "circuit": report[name].faithfulness, "random": report[name].random_faithfulness}
