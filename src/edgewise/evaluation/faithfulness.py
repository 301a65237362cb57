"""evaluate: run the model with only a circuit's edges kept, and compare it with the clean and the corrupted run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.arguments import refuse_empty_batch, typed
from edgewise.circuit import Circuit
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.replacement import Replacement
from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.evaluation.plausible import noticed
from edgewise.evaluation.report import MetricReport, NeuronCount, Report
from edgewise.graph import Graph
from edgewise.metrics import Answers, AnyMetric, Metric
from edgewise.metrics import metric as find_metric
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.ranks import current, split_or_refuse
from edgewise.surroundings import neutrally


@typed
@watched
@neutrally
@torch.no_grad()
def evaluate(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    circuit: Circuit,
    pairs: Pairs,
    *,
    metrics: Sequence[AnyMetric] = ("logit_diff", "kl"),
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    random: int | None = 0,
    track: Track = silent,
    progress: bool | None = None,
) -> Report:
    """Run the model with only a circuit's edges kept, and compare it with the clean and the corrupted run.

    `subject`: the model, from `load`.
    `circuit`: the circuit, of edges or of neurons.
    `pairs`: the prompts to measure on; best those that no method has seen.
    `metrics`: names of metrics, or Metrics.
    `ablation`: what edges (or coordinates) outside the circuit carry.
    `batch_size`: how many pairs run at once.
    `random`: the seed of a random circuit of the same size to compare with, or None for no comparison.
    `track`, `progress`: as in `attribute`.

    Returns a Report, with means over the pairs. Raises GraphMismatch for a circuit of another graph, UnknownName for a
    metric or an ablation that is not known, InvalidValue without a metric.
    """
    started = time.perf_counter()
    _check_graph(subject, circuit)
    masks = {"circuit": Mask.of(circuit)}
    if random is not None:
        masks["random"] = _by_chance(circuit, random)
    chosen = find_ablation(ablation)
    runner = _Runner.of(subject, masks, metrics)
    runner.run(pairs, chosen, batch_size, track)
    reports = runner.reports("circuit", "random" if random is not None else None)
    said = noticed(runner.metrics, reports, pairs)
    return _report(circuit, reports, pairs, chosen.name, time.perf_counter() - started, said)


@typed
@watched
@neutrally
@torch.no_grad()
def evaluate_each(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    circuits: Sequence[Circuit],
    pairs: Pairs,
    *,
    metrics: Sequence[AnyMetric] = ("logit_diff", "kl"),
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    track: Track = silent,
    progress: bool | None = None,
) -> list[Report]:
    """A Report for each circuit, as by `evaluate` without a random circuit; other runs are made only once.

    `subject`, `pairs`, `metrics`, `ablation`, `batch_size`, `track`, `progress`: as in `evaluate`.
    `circuits`: the circuits. The seconds of each report are its share of the whole.
    """
    started = time.perf_counter()
    for circuit in circuits:
        _check_graph(subject, circuit)
    masks = {str(number): Mask.of(circuit) for number, circuit in enumerate(circuits)}
    chosen = find_ablation(ablation)
    runner = _Runner.of(subject, masks, metrics)
    runner.run(pairs, chosen, batch_size, track)
    share = (time.perf_counter() - started) / max(1, len(circuits))
    found = [runner.reports(str(number), None) for number in range(len(circuits))]
    return [
        _report(circuit, reports, pairs, chosen.name, share, noticed(runner.metrics, reports, pairs))
        for circuit, reports in zip(circuits, found, strict=True)
    ]


def _check_graph(subject: Subject, circuit: Circuit) -> None:
    if circuit.graph != subject.graph:
        raise GraphMismatch(f"the circuit is of another model: {circuit.graph}; {subject.name} has {subject.graph}")
    if circuit.level == "neurons" and circuit.d_model != subject.d_model:
        raise GraphMismatch(
            f"the circuit is of another model: its writers have {circuit.d_model} neurons, those of {subject.name} "
            f"{subject.d_model}"
        )


def _report(
    found: Circuit,
    metrics: dict[str, MetricReport],
    pairs: Pairs,
    ablation: str,
    seconds: float,
    warnings: tuple[str, ...],
) -> Report:
    circuit = found.circuit
    return Report(
        metrics=metrics,
        edges=len(circuit),
        live_edges=len(circuit.without_dangling()),
        total_edges=circuit.graph.n_edges,
        nodes=len(found.nodes),
        has_path=circuit.has_path,
        examples=len(pairs),
        ablation=ablation,
        seconds=seconds,
        neurons=_count(found) if found.level == "neurons" else None,
        held_out=bool(pairs.source.get("held_out")),
        warnings=warnings,
    )


def _count(found: Circuit) -> NeuronCount:
    return NeuronCount(len(found), len(found.without_dangling()), found.n_neurons, found.weighted_edges)


def _by_chance(circuit: Circuit, seed: int) -> Mask:
    """The mask of a random circuit of the same kind and size."""
    if circuit.level == "edges":
        return Mask(random_mask(circuit.graph, len(circuit), seed))
    return Mask.of(
        Circuit.of_neurons(circuit.graph, random_neurons(circuit.graph, circuit.d_model, len(circuit), seed))
    )


def random_mask(graph: Graph, edges: int, seed: int) -> Tensor:
    """A mask of that many edges drawn evenly from all edges of the graph."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(graph.n_edges, generator=generator)[:edges]
    mask = torch.zeros_like(graph.edge_mask)
    mask[tuple(graph.edge_mask.nonzero()[chosen].T)] = True
    return mask


def random_neurons(graph: Graph, d_model: int, neurons: int, seed: int) -> Tensor:
    """bool [writer, d_model]: that many neurons drawn evenly from those of all writers."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.zeros(len(graph.writers) * d_model, dtype=torch.bool)
    kept[torch.randperm(len(kept), generator=generator)[:neurons]] = True
    return kept.view(-1, d_model)


@final
@dataclass(frozen=True)
class _Runner:
    """Collects metric values batch by batch: of the clean model, of the ablated one and under each mask.

    `values`: (what was run, metric) → the values of each batch.
    """

    subject: Subject
    masks: dict[str, Mask]
    metrics: list[Metric]
    values: dict[tuple[str, str], list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    workspace: Workspace = field(default_factory=Workspace)

    @classmethod
    def of(cls, subject: Subject, masks: dict[str, Mask], metrics: Sequence[AnyMetric]) -> _Runner:
        """One that has collected nothing yet; InvalidValue without a metric."""
        if not metrics:
            raise InvalidValue("no metric was given; name at least one")
        return cls(subject, masks, [find_metric(name) for name in metrics])

    def run(self, pairs: Pairs, ablation: Ablation, batch_size: int, track: Track) -> None:
        """Run all pairs, so many at a time, each rank its share of them."""
        refuse_empty_batch(batch_size)
        mine = pairs[split_or_refuse(len(pairs), "pairs")] if current().count > 1 else pairs
        several = "a circuit" if len(self.masks) == 1 else f"{len(self.masks)} circuits"
        label = f"evaluating {'the circuit' if 'circuit' in self.masks else several}"
        with self.subject.at_work(), steady(self.subject.model):
            replacer = ablation.over_all(pairs).prepared(self.subject, mine, batch_size)
            for batch in track(mine.batches(batch_size), -(-len(mine) // batch_size), label):
                ready = self.subject.ready(batch)
                self.add(ready, replacer(ready))
        for key, values in self.values.items():
            self.values[key] = [current().cat(torch.cat(values))]

    def add(self, batch: Pairs, replacement: Replacement) -> None:
        """Run one batch clean, replaced, and under each mask."""
        clean = self.subject.logits(batch.clean, batch.positions)
        self._collect("clean", clean, clean, batch)
        self._collect("corrupted", replacement.logits(self.subject, batch.positions), clean, batch)
        for name, mask in self.masks.items():
            logits = masked_forward(
                self.subject, batch.clean, batch.positions, mask, replacement, workspace=self.workspace
            )
            self._collect(name, logits, clean, batch)

    def _collect(self, name: str, logits: Tensor, clean: Tensor, batch: Pairs) -> None:
        answers = Answers(batch.correct, batch.wrong)
        for metric in self.metrics:
            self.values[name, metric.name].append(metric.value(logits, answers, clean).double().cpu())

    def reports(self, name: str, random: str | None) -> dict[str, MetricReport]:
        """The means under the mask `name`, beside those under the mask `random`, metric by metric."""
        return {metric.name: self._report(metric.name, name, random) for metric in self.metrics}

    def _report(self, metric: str, name: str, random: str | None) -> MetricReport:
        clean, corrupted, circuit = (self._mean(kind, metric) for kind in ("clean", "corrupted", name))
        examples = tuple(torch.cat(self.values[name, metric]).tolist())
        return MetricReport(clean, corrupted, circuit, self._mean(random, metric) if random else None, examples)

    def _mean(self, name: str, metric: str) -> float:
        return float(torch.cat(self.values[name, metric]).mean())
