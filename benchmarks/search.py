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
from transformers import GPT2Config, GPT2LMHeadModel

import edgewise as ew
from benchmarks.attribution import Row
from benchmarks.setting import DEVICE, plain_forward, random_pairs, seconds_of
from edgewise.engine.board import Workspace
from edgewise.engine.forward import masked_forward
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.graph import layer_of
from edgewise.models import Subject

TAU = 0.003
# The twin runs a whole masked forward for each removal; so many of them, evenly over the search, give its price.
SAMPLED = 40


@torch.no_grad()
def acdc_cost(rounds: int) -> Iterator[Row]:
    """Seconds per tested removal over a plain forward of all pairs, and the twin's over ours. One search, not `rounds`."""
    yield from _costs("6 layers", _wide_gpt2(6), random_pairs(16, 16), rounds, ("≤ 0.15", "≥ 12"))
    nano = ew.load("nano", device=DEVICE)
    yield from _costs("nano, ioi", nano, ew.task("ioi").pairs(nano.tokenizer, n=16).to(DEVICE), rounds, ("", "≥ 15"))


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


def _costs(label: str, subject: Subject, pairs: ew.Pairs, rounds: int, targets: tuple[str, str]) -> Iterator[Row]:
    plain = _median(lambda: plain_forward(subject, pairs, batch=len(pairs)), rounds)
    found = _Search(subject, pairs)
    each = found.seconds / found.tested
    label = f"{label}, {len(pairs)} × {pairs.clean.shape[1]}"
    seconds = (f"{each * 1e3:.1f} ms", f"{plain * 1e3:.1f} ms")
    yield (f"{label}, {found}: per test / plain forward", f"{each / plain:.3f}", targets[0], *seconds)
    yield from found.by_layer(plain)
    for skip, target in (("nothing", targets[1]), ("dead nodes", "")):
        twin = _one_at_a_time(subject, pairs, found.circuit, skip)
        name = f"{label}: a masked run per removal that skips {skip} / ours"
        yield (name, f"{twin / each:.1f}", target, f"{each * 1e3:.1f} ms", f"{twin * 1e3:.1f} ms")


class _Search:
    """One search, timed: altogether, and the tests of each layer's readers apart."""

    def __init__(self, subject: Subject, pairs: ew.Pairs) -> None:
        self.stamps = [(time.perf_counter(), 0)]
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace.jsonl"
            self.circuit = ew.discover(subject, pairs, method="acdc", tau=TAU, trace=str(trace), track=self._track)
            self.seconds = time.perf_counter() - self.stamps[0][0]
            self.edges = [json.loads(line)["edge"] for line in trace.read_text().splitlines()[1:]]
        self.tested = len(self.edges)

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
            layers = [layer_of(edge.partition("->")[2]) for edge in self.edges[first:last]]
            for layer in layers:
                spent[layer].append((end - start) / len(layers))
        for layer, seconds in sorted(spent.items(), reverse=True):
            each = statistics.mean(seconds)
            place = f"layer {layer}" if layer < len(self.circuit.graph.writers) else "logits"
            label = f"  {place}: {len(seconds):,} tests"
            yield (label, f"{each / plain:.3f}", "", f"{each * 1e3:.1f} ms", f"{plain * 1e3:.1f} ms")

    def __str__(self) -> str:
        return f"{self.tested:,} tested, {len(self.circuit):,} kept"


def _one_at_a_time(subject: Subject, pairs: ew.Pairs, circuit: ew.Circuit, skip: str) -> float:
    """Mean seconds of the full masked run that one removal costs the twin, over states along the search."""
    graph, workspace = circuit.graph, Workspace()
    candidates = graph.edge_mask if skip == "nothing" else None
    replacement = Replacement.of_run(record(subject, pairs.corrupted, pairs.positions))
    times = []
    for number in range(SAMPLED):
        # Readers behind the frontier as the search left them, those before it still whole.
        frontier = len(graph.readers) * number // SAMPLED
        mask = graph.edge_mask.clone()
        mask[:, frontier:] = circuit.mask[:, frontier:]
        how: dict[str, Any] = {"workspace": workspace, "candidates": candidates}
        run = partial(masked_forward, subject, pairs.clean, pairs.positions, mask, replacement, **how)
        times.append(seconds_of(run))
    return statistics.mean(times)


def _median(run: Callable[[], object], rounds: int) -> float:
    return statistics.median([seconds_of(run) for _ in range(rounds + 1)][1:])
