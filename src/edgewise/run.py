"""From a recipe to a run folder: load, make pairs, attribute, select, evaluate, save."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from edgewise.ablations import ablation
from edgewise.api import attribute, attribute_nodes, discover, node_method, select, select_level, sweep
from edgewise.circuit import Circuit
from edgewise.curve import Curve
from edgewise.data import Row, read_rows, to_pairs
from edgewise.errors import InvalidValue, UnknownName
from edgewise.evaluation import Bootstrap, Report, Resampling, bootstrap, curve_sizes, evaluate, faithfulness_curve
from edgewise.evaluation.bootstrap import resampled_method
from edgewise.formats import CIRCUIT_FILE, CURVE_FILE, REPORT_FILE, SCORES_FILE, curve_json, with_reference
from edgewise.loading import load
from edgewise.methods import method, method_class, sweep_values
from edgewise.metrics import metric
from edgewise.models import Subject
from edgewise.neurons import NeuronCircuit
from edgewise.nodes import NodeScores
from edgewise.pairs import NO_ANSWER, Pairs
from edgewise.partial import Start, default_folder, partial_run
from edgewise.progress import Track, silent
from edgewise.provenance import versions
from edgewise.recipe import MANIFEST, Recipe, Setting
from edgewise.request import LOCAL
from edgewise.scores import Scores
from edgewise.search import Search
from edgewise.store.disk import new_folder, write_bytes
from edgewise.store.files import save
from edgewise.store.schema import VERSION, dump, encode, plain
from edgewise.sweeps import Sweep
from edgewise.tasks import task
from edgewise.viewer import Finding, show

EXAMPLES = 64
SWEEP_FILE = "sweep.json"
__all__ = ["Run", "Source", "compute", "default_folder", "prepare", "reported_metrics", "run", "write"]

S = TypeVar("S", bound=Setting)


@dataclass(frozen=True)
class Run:
    """What a run found, and on what: `model` is its identity, `data` the hash of its pairs.

    `scores` is None for a search, which decides edge by edge and scores none, unless it was swept: `sweep` has a circuit for
    each value, `sweep_reports` what each keeps. `stability` is there if the recipe asks for it. If it asks for nodes or
    neurons, `node_scores` stands in the place of `scores`; `neurons` is the circuit of neurons whose edges `circuit` has.
    """

    recipe: Recipe
    model: dict[str, Any]
    data: str
    scores: Scores | None
    circuit: Circuit
    report: Report
    seconds: float
    curve: Curve | None = None
    folder: Path | None = None
    files: tuple[str, ...] = ()
    sweep: Sweep | None = None
    sweep_reports: tuple[Report, ...] = ()
    stability: Bootstrap | None = None
    node_scores: NodeScores | None = None
    neurons: NeuronCircuit | None = None

    @property
    def found(self) -> Circuit | NeuronCircuit:
        """The circuit, of neurons if these were asked for."""
        return self.circuit if self.neurons is None else self.neurons

    @property
    def selected(self) -> int:
        """The number of edges, nodes or neurons before those on no path were dropped."""
        return int(self.found.provenance[self.recipe.level]["selected"])

    @property
    def sweep_rows(self) -> list[dict[str, Any]]:
        """One mapping for each value of a sweep: how many edges it keeps, what it took, what they keep."""
        if self.sweep is None:
            return []
        name = self.circuit.provenance["faithfulness"]["metric"]
        return [
            {
                self.sweep.dial: value,
                "edges": len(circuit),
                **{key: circuit.provenance[key] for key in ("tested", "final") if key in circuit.provenance},
                "metrics": {metric: one.circuit for metric, one in report.metrics.items()},
                "faithfulness": report[name].faithfulness,
                "circuit": f"circuit-{self.sweep.dial}-{value!r}.json",
            }
            for value, circuit, report in zip(self.sweep.values, self.sweep.circuits, self.sweep_reports, strict=True)
        ]

    @property
    def finding(self) -> Finding:
        """What there is to show of it."""
        curves = () if self.curve is None else (self.curve,)
        shown = replace(Finding.of(self.found), scores=self.scores, node_scores=self.node_scores)
        return with_reference(replace(shown, curves=curves, report=_report(self)))


@dataclass(frozen=True)
class Source(Generic[S]):
    """Where prompts come from: a task, or the rows of a file; and the metric that goes with them."""

    recipe: S
    rows: tuple[Row, ...] | None

    def pairs(self, tokenizer: Any) -> Pairs:
        """The pairs for this tokenizer."""
        if self.rows is not None:
            return to_pairs(self.rows, tokenizer, str(self.recipe.data), n=self.recipe.examples)
        n = self.recipe.examples or EXAMPLES
        chosen = task(str(self.recipe.task))
        return chosen.pairs(tokenizer, n=n, seed=self.recipe.seed, corruption=self.recipe.corruption)

    def metric(self, pairs: Pairs) -> str:
        """The recipe's metric, or the task's; of data the logit difference, or without wrong answers the likelihood."""
        if self.recipe.metric is not None:
            return metric(self.recipe.metric).name
        if self.recipe.task is not None:
            return task(self.recipe.task).metric
        return "nll" if bool((pairs.wrong == NO_ANSWER).all(dim=1).any()) else "logit_diff"


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
    subject = load(recipe.model, dtype=recipe.dtype, device=recipe.device, kv=recipe.kv)
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


def open_source(setting: S) -> Source[S]:
    """The prompts of a setting, once its task, corruption, ablation and metric are known names; reads its data."""
    if setting.task is not None:
        corruptions = task(setting.task).corruptions
        if setting.corruption is not None:
            _known("corruption", setting.corruption, corruptions)
    ablation(setting.ablation)
    if setting.metric is not None:
        metric(setting.metric)
    return Source(setting, read_rows(setting.data) if setting.data is not None else None)


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
        nodes = attribute_nodes(subject, pairs, method=recipe.method, metric=source.metric(pairs), **how)
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
    scores = attribute(subject, pairs, method=recipe.method, metric=source.metric(pairs), **how)
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


def write(found: Run, folder: Path) -> tuple[str, ...]:
    """Everything a run leaves, the manifest with the hash of every other file last."""
    save(found.found, folder / CIRCUIT_FILE)
    scores = found.scores if found.node_scores is None else found.node_scores
    if scores is not None:
        save(scores, folder / SCORES_FILE)
    write_bytes(folder / REPORT_FILE, encode(dump({"schema": "edgewise/report", "version": VERSION, **_report(found)})))
    if found.curve is not None:
        write_bytes(folder / CURVE_FILE, encode(curve_json(found.curve)))
    write_bytes(folder / "recipe.json", encode(found.recipe.to_json()))
    if found.sweep is not None:
        _write_sweep(found, found.sweep, folder)
    for suffix in (".svg", ".dot", ".html"):
        show(found.finding, folder / f"circuit{suffix}")
    names = sorted(path.name for path in folder.iterdir())
    write_bytes(folder / "manifest.json", encode(dump(_manifest(found, folder))))
    return (*names, "manifest.json")


def _write_sweep(found: Run, sweep: Sweep, folder: Path) -> None:
    rows = found.sweep_rows
    for row, circuit in zip(rows, sweep.circuits, strict=True):
        save(circuit, folder / row["circuit"])
    head = {"schema": "edgewise/sweep", "version": VERSION, "dial": sweep.dial}
    write_bytes(folder / SWEEP_FILE, encode(dump({**head, "values": rows})))


def _report(found: Run) -> dict[str, Any]:
    known = found.circuit.provenance
    counts = {name: known[name] for name in ("candidates", "tested", "computed", "final") if name in known}
    again = {} if found.stability is None else {"stability": found.stability.to_dict()}
    report = plain({**found.report.to_dict(), **again})
    return {
        "level": found.recipe.level,
        "selected": found.selected,
        "ranking": found.recipe.ranking,
        **counts,
        **report,
    }


def _manifest(found: Run, folder: Path) -> dict[str, Any]:
    return {
        "schema": MANIFEST,
        "version": VERSION,
        "recipe": found.recipe.model_dump(),
        "repeat": "edgewise discover --recipe manifest.json",
        "versions": versions(),
        "model": found.model,
        "data": {"sha256": found.data, "examples": found.circuit.provenance.get("examples")},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(found.seconds, 3),
        "files": {path.name: file_hash(path) for path in sorted(folder.iterdir())},
    }


def file_hash(path: Path) -> str:
    """The hash of a file as a manifest has it."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def _known(kind: str, name: str, known: Iterable[str]) -> None:
    known = tuple(known)
    if name not in known:
        raise UnknownName.of(kind, name, known)
