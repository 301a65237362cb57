"""ACDC's cost per tested edge, against a plain forward and against testing one edge at a time."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import edgewise as ew
from benchmarks.attribution import Row
from benchmarks.setting import DEVICE, plain_forward, random_pairs, ratio, seconds_of
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.engine.writer_buffer import Workspace
from edgewise.graph import layer_of
from edgewise.metrics import Answers, metric
from edgewise.models import Subject

TAU = 0.003
# Of the larger model the twin tests so many removals, spread evenly over the search; of nano all of them.
SAMPLED = 40


@torch.no_grad()
def acdc_cost(rounds: int) -> Iterator[Row]:
    """Seconds per tested removal over a plain forward of all pairs, and the twin's over ours.

    The larger model is searched once; nano, whose searches take a tenth of a second, in as many rounds with the twin.
    """
    wide, nano = _wide_gpt2(6), ew.load("nano", device=DEVICE)
    yield from _costs("6 layers", wide, random_pairs(16, 16), rounds, ("≤ 0.15", "≥ 12"), searches=1, most=SAMPLED)
    for examples, target in ((16, "≥ 15"), (64, "≥ 15")):
        pairs = ew.task("ioi").pairs(nano.tokenizer, n=examples).to(DEVICE)
        yield from _costs("nano, ioi", nano, pairs, rounds, ("", target), searches=rounds, most=1000)


@torch.no_grad()
def acdc_full(rounds: int) -> Iterator[Row]:
    """The whole GPT-2-small shape, 32 × 16 tokens: one search of some minutes, without the twin."""
    subject, pairs = _wide_gpt2(12), random_pairs(32, 16)
    found = _Search(subject, pairs)
    per_second = f"{found.tested / found.seconds:.1f} tests/s"
    yield (f"12 layers, 32 × 16, {found}", per_second, "", f"{found.seconds:.0f} s", "")
    yield from found.by_layer(_median(lambda: plain_forward(subject, pairs, batch=len(pairs)), rounds))


def _wide_gpt2(layers: int) -> Subject:
    """GPT-2 small's width, with weights drawn so wide that the metric moves."""
    torch.manual_seed(0)
    return ew.load(GPT2LMHeadModel(GPT2Config(n_layer=layers, initializer_range=0.06)).eval().to(DEVICE))


def _costs(
    label: str, subject: Subject, pairs: ew.Pairs, rounds: int, targets: tuple[str, str], *, searches: int, most: int
) -> Iterator[Row]:
    plain = _median(lambda: plain_forward(subject, pairs, batch=len(pairs)), rounds)
    found, twins = [], {"nothing": [], "dead nodes": []}
    for _ in range(searches):
        found.append(_Search(subject, pairs))
        for skip, times in twins.items():
            times.append(_one_at_a_time(subject, pairs, found[-1], skip, most))
    costs = [one.each for one in found]
    middle = sorted(found, key=lambda one: one.each)[searches // 2]
    label = f"{label}, {len(pairs)} × {pairs.clean.shape[1]}"
    seconds = (f"{middle.each * 1e3:.2f} ms", f"{plain * 1e3:.1f} ms")
    yield (f"{label}, {middle}: per test / plain forward", f"{middle.each / plain:.3f}", targets[0], *seconds)
    yield from middle.by_layer(plain)
    for (skip, times), target in zip(twins.items(), (targets[1], ""), strict=True):
        name = f"{label}: one at a time, skipping {skip}, / ours"
        seconds = (f"{middle.each * 1e3:.2f} ms", f"{statistics.median(times) * 1e3:.1f} ms")
        yield (name, f"{ratio(times, costs):.1f}", target, *seconds)


class _Search:
    """One search, timed: altogether, and the tests of each layer's readers apart."""

    def __init__(self, subject: Subject, pairs: ew.Pairs) -> None:
        self.stamps = [(time.perf_counter(), 0)]
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace.jsonl"
            self.circuit = ew.discover(subject, pairs, method="acdc", tau=TAU, trace=str(trace), track=self._track)
            self.seconds = time.perf_counter() - self.stamps[0][0]
            self.decisions = [json.loads(line) for line in trace.read_text().splitlines()[1:]]
        self.tested = len(self.decisions)
        self.each = self.seconds / self.tested

    def _track(self, steps: Iterable[Any], total: int, label: str, detail: Any = None) -> Iterable[Any]:
        self.stamps.append((time.perf_counter(), 0))
        for step in steps:
            if step.tested != self.stamps[-1][1]:
                self.stamps.append((time.perf_counter(), step.tested))
            yield step

    def by_layer(self, plain: float) -> Iterator[Row]:
        """What a test costs in plain forwards, layer by layer of the reader."""
        spent: dict[int, list[float]] = defaultdict(list)
        for (start, first), (end, last) in pairwise(self.stamps[1:]):
            layers = [layer_of(one["edge"].partition("->")[2]) for one in self.decisions[first:last]]
            for layer in layers:
                spent[layer].append((end - start) / len(layers))
        for layer, seconds in sorted(spent.items(), reverse=True):
            each = statistics.mean(seconds)
            place = f"layer {layer}" if layer < len(self.circuit.graph.writers) else "logits"
            label = f"  {place}: {len(seconds):,} tests"
            yield (label, f"{each / plain:.3f}", "", f"{each * 1e3:.1f} ms", f"{plain * 1e3:.1f} ms")

    def __str__(self) -> str:
        return f"{self.tested:,} tested, {len(self.circuit):,} kept"


def _one_at_a_time(subject: Subject, pairs: ew.Pairs, search: _Search, skip: str, most: int) -> float:
    """Mean seconds of a removal in the published algorithm: a full masked run and the metric, the two plain runs spread out.

    `most` removals are tested, evenly over the search.
    """
    graph, workspace, kl = subject.graph, Workspace(), metric("kl")
    candidates = graph.edge_mask if skip == "nothing" else None
    started = time.perf_counter()
    clean, answers = record(subject, pairs.clean, pairs.positions).logits, Answers(pairs.correct, pairs.wrong)
    replacement = Replacement.of_run(record(subject, pairs.corrupted, pairs.positions))
    both = time.perf_counter() - started

    def test(kept: Tensor) -> float:
        mask = Mask(kept, candidates=candidates)
        logits = masked_forward(subject, pairs.clean, pairs.positions, mask, replacement, workspace=workspace)
        return float(kl.objective(logits, answers, clean).mean())

    times, mask, count = [], graph.edge_mask, min(most, search.tested)
    chosen = {number * search.tested // count for number in range(count)}
    for number, decision in enumerate(search.decisions):
        writers, reader = decision["edge"].split("->")
        without = mask.clone()
        rows = [graph.writers.index(writer) for writer in writers.split(",")] if writers else slice(None)
        without[rows, graph.readers.index(reader)] = False
        if number in chosen:
            times.append(seconds_of(partial(test, without)))
        mask = mask if decision["kept"] else without
    return statistics.mean(times) + both / search.tested


def _median(run: Callable[[], object], rounds: int) -> float:
    return statistics.median([seconds_of(run) for _ in range(rounds + 1)][1:])
