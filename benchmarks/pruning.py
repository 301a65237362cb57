"""Edge pruning: one step against the bare passes it needs, its memory against the state it must hold, HAP against it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import edgewise as ew
from benchmarks.attribution import Row, peak_memory
from benchmarks.setting import bare_passes, gpt2_small, interleaved, plain_forward, random_pairs, ratio
from edgewise.ablations import Corrupted
from edgewise.metrics import metric
from edgewise.models import FAMILIES, Subject
from edgewise.progress import silent
from edgewise.pruning.edge_pruning import PRESETS
from edgewise.pruning.fit import Optimization, Problem
from edgewise.pruning.hap import KEEP
from edgewise.pruning.layout import EdgeGates
from edgewise.pruning.objective import Lagrangian
from edgewise.pruning.rounding import best_edges
from edgewise.request import Request

EXAMPLES, TOKENS = 8, 32
EDGES, SEEDS = 24, 5


def step_time(rounds: int) -> Iterator[Row]:
    """A step with every gate open over two forwards without and one with backward of the plain model, same batch."""
    subject, pairs = ew.load(gpt2_small()), random_pairs(EXAMPLES, TOKENS)
    run = open_gates(subject, pairs, subject.graph.edge_mask)

    def bound() -> None:
        plain_forward(subject, pairs)
        bare_passes(subject, pairs)

    def first_visit() -> None:
        run.feed.held.clear()
        run.advance()

    for label, ours in (("a batch seen first", first_visit), ("a batch seen before", run.advance)):
        yield _row(f"{EXAMPLES} × {TOKENS} tokens, {label}", interleaved(ours, bound, rounds), "≤ 2.0")
    scores = ew.attribute(subject, pairs, method="eap").values.double().abs()
    for label, share in (("hap's first step", KEEP), ("a step with 95 % closed", 0.05)):
        open_ = best_edges(subject.graph, scores, round(share * subject.graph.n_edges))
        sparse = open_gates(subject, pairs, open_)
        yield _row(f"{label} / edge pruning's first", interleaved(sparse.advance, run.advance, rounds), "")


def step_memory(rounds: int) -> Iterator[Row]:
    """What a step adds to the process's peak, over the state writers × tokens × width that it must hold once."""
    for layers in (6, 12):
        command = [sys.executable, "-m", "benchmarks.pruning", str(layers)]
        added = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        state = (1 + 13 * layers) * EXAMPLES * TOKENS * 768 * 4
        shown = (f"{size / 2**20:.0f} MiB" for size in (added, state))
        yield (f"{layers} layers, {EXAMPLES} × {TOKENS} tokens", f"{added / state:.2f}", "", *shown)


def hybrid(rounds: int) -> Iterator[Row]:
    """HAP against edge pruning on nano: whole runs, medians over seeds; `rounds` does not apply."""
    subject = ew.load("nano")
    pairs = ew.task("ioi").pairs(subject.tokenizer, n=64, seed=0)
    methods = ("hap", "edge-pruning")
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    divergence: dict[str, list[float]] = {method: [] for method in methods}
    for seed in range(SEEDS):
        for method in methods:
            started = time.perf_counter()
            circuit = ew.discover(subject, pairs, method=method, edges=EDGES, seed=seed)
            seconds[method].append(time.perf_counter() - started)
            divergence[method].append(circuit.provenance["final"])
    label = f"nano, ioi, {EDGES} of {subject.graph.n_edges} edges, hap / edge pruning"
    yield _row(f"{label}: time", (seconds["hap"], seconds["edge-pruning"]), "≤ 0.5")
    ours, theirs = (statistics.median(divergence[method]) for method in methods)
    yield (f"{label}: KL", f"{ours / theirs:.2f}", "≤ 1.05", f"{ours:.3f}", f"{theirs:.3f}")


def open_gates(subject: Subject, pairs: ew.Pairs, candidates: Tensor) -> Optimization:
    """An optimisation whose gates stay open: the dearest steps there are."""
    settings = replace(PRESETS["default"], start=20.0, rate=1e-9, settle=0.0)
    layout = EdgeGates(subject.graph, candidates)
    penalty = Lagrangian(subject.graph.n_edges, 0.0, 0.95, 200)
    request = Request(subject, pairs, metric("kl"), Corrupted(), len(pairs), silent)
    return Optimization(Problem(layout, penalty, settings, 0), request)


def _added(layers: int) -> int:
    """Bytes by which two steps raise the peak of this process over what it held before."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=layers)).eval()
    subject, pairs = Subject(model, None, FAMILIES["gpt2"], "gpt2-small"), random_pairs(EXAMPLES, TOKENS)
    bare_passes(subject, random_pairs(2, 4))  # libraries allocate on first use
    run = open_gates(subject, pairs, subject.graph.edge_mask)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = peak_memory()
    for _ in range(3):
        run.advance()
    return peak_memory() - before


def _row(label: str, times: tuple[list[float], list[float]], target: str) -> Row:
    seconds = (f"{statistics.median(t):.3f} s" for t in times)
    return (label, f"{ratio(*times):.2f}", target, *seconds)


if __name__ == "__main__":
    sys.stdout.write(f"{_added(int(sys.argv[1]))}\n")
