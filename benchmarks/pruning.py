"""Edge pruning: one step against the bare passes it needs, its memory against the state it must hold, HAP against it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import edgewise as ew
from benchmarks.attribution import Row
from benchmarks.setting import (
    DEVICE,
    bare_passes,
    gpt2_small,
    interleaved,
    memory_now,
    peak_memory,
    plain_forward,
    random_pairs,
    ratio,
)
from edgewise.ablations import Corrupted
from edgewise.metrics import metric
from edgewise.models import FAMILIES, Subject
from edgewise.progress import silent
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.edge_pruning import PRESETS
from edgewise.pruning.gate_layout import EdgeGates
from edgewise.pruning.hap import KEEP
from edgewise.pruning.objective import Lagrangian
from edgewise.pruning.optimization import Optimization, Problem
from edgewise.pruning.rounding import best_edges
from edgewise.request import Request

EXAMPLES, TOKENS = 8, 32
# Whole runs, model by model: at which sizes, with which seeds; none of them was used while the methods were made.
WHOLE_RUNS = {"nano": ((24, 48), range(100, 110)), "smollm2": ((1300,), range(44, 45))}
METHODS = ("hap", "edge-pruning")


def step_time(rounds: int) -> Iterator[Row]:
    """A step with every gate open over two forwards without and one with backward of the plain model, same batch."""
    subject, pairs = ew.load(gpt2_small()), random_pairs(EXAMPLES, TOKENS)
    run = open_gates(subject, pairs, subject.graph.edge_mask)

    def bound() -> None:
        plain_forward(subject, pairs)
        bare_passes(subject, pairs)

    def first_visit() -> None:
        run.feed.release()
        run.advance()

    for label, ours in (("a batch seen first", first_visit), ("a batch seen before", run.advance)):
        yield _row(f"{EXAMPLES} × {TOKENS} tokens, {label}", interleaved(ours, bound, rounds), "≤ 2.0")
    scores = ew.attribute(subject, pairs, method="eap").values.double().abs()

    def at(share: float) -> Callable[[], object]:
        open_ = best_edges(subject.graph, scores, round(share * subject.graph.n_edges))
        return open_gates(subject, pairs, open_).advance

    yield _row("a step with 95 % closed / edge pruning's first", interleaved(at(0.05), run.advance, rounds), "")
    for label, passed in (("first step", 0.0), ("half-way step", 0.5)):
        ours, theirs = (first + passed * (0.05 - first) for first in (KEEP, 1.0))
        yield _row(f"hap's {label} / edge pruning's", interleaved(at(ours), at(theirs), rounds), "")


def step_memory(rounds: int) -> Iterator[Row]:
    """What a step adds to the process's peak, over the state writers × tokens × width that it must hold once."""
    for layers in (6, 12):
        command = [sys.executable, "-m", "benchmarks.pruning", str(layers)]
        added = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        state = (1 + 13 * layers) * EXAMPLES * TOKENS * 768 * 4
        shown = (f"{size / 2**20:.0f} MiB" for size in (added, state))
        yield (f"{layers} layers, {EXAMPLES} × {TOKENS} tokens", f"{added / state:.2f}", "", *shown)


def hybrid(rounds: int) -> Iterator[Row]:
    """HAP against edge pruning on nano: whole runs at two sizes, medians over ten seeds; `rounds` does not apply.

    Both by the default preset. Each seed draws 256 pairs to find the circuit on and 200 others to judge it on.
    """
    yield from _hybrid_on("nano")


def hybrid_real(rounds: int) -> Iterator[Row]:
    """The same on SmolLM2 at one size with one seed, which takes half an hour; `rounds` does not apply."""
    yield from _hybrid_on("smollm2")


def _hybrid_on(model: str) -> Iterator[Row]:
    subject = ew.load(model, device=DEVICE)
    sizes, seeds = WHOLE_RUNS[model]
    for edges in sizes:
        runs = [_hybrid_run(subject, edges, seed) for seed in seeds]
        label = f"{edges} of {subject.graph.n_edges} edges, hap / edge pruning"
        for name, target in (("CPU time", "≤ 0.5"), ("time", "≤ 0.5"), ("KL, held out", "≤ 1.0"), ("KL, found on", "")):
            ours, theirs = ([run[method][name] for run in runs] for method in METHODS)
            ratio = statistics.median(ours) / statistics.median(theirs)
            yield (f"{label}: {name}", f"{ratio:.2f}", target, _spread(ours), _spread(theirs))


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def _hybrid_run(subject: Subject, edges: int, seed: int) -> dict[str, dict[str, float]]:
    """Seconds and KL of both methods with one seed, the first to run changing with it."""
    task, measured = ew.task("ioi"), {}
    pairs = task.pairs(subject.tokenizer, n=256, seed=seed)
    others = task.pairs(subject.tokenizer, n=200, seed=seed, apart_from=pairs)
    for method in METHODS if seed % 2 else METHODS[::-1]:
        wall, processor = time.perf_counter(), time.process_time()
        circuit = ew.discover(subject, pairs, method=method, edges=edges, seed=seed)
        times = {"time": time.perf_counter() - wall, "CPU time": time.process_time() - processor}
        seen, unseen = (ew.evaluate(subject, circuit, of, metrics=["kl"])["kl"].circuit for of in (pairs, others))
        measured[method] = {**times, "KL, found on": seen, "KL, held out": unseen}
    return measured


def open_gates(subject: Subject, pairs: ew.Pairs, candidates: Tensor) -> Optimization:
    """An optimisation whose gates stay open: the dearest steps there are."""
    settings = replace(PRESETS["published"], start=20.0, spread=0.0, rate=1e-9)
    layout = EdgeGates(subject.graph, candidates)
    penalty = Lagrangian(subject.graph.n_edges, 0.0, 0.95, 200)
    request = Request(subject, pairs, metric("kl"), Corrupted(), len(pairs), silent)
    return Optimization(Problem(layout, penalty, settings, 0), BatchCache(request))


def _added(layers: int) -> int:
    """Bytes by which two steps raise the peak of this process over what it held before."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=layers)).eval().to(DEVICE)
    subject, pairs = Subject(model, None, FAMILIES["gpt2"], "gpt2-small"), random_pairs(EXAMPLES, TOKENS)
    bare_passes(subject, random_pairs(2, 4))  # libraries allocate on first use
    run = open_gates(subject, pairs, subject.graph.edge_mask)
    before = memory_now()
    for _ in range(3):
        run.advance()
    return peak_memory() - before


def _row(label: str, times: tuple[list[float], list[float]], target: str) -> Row:
    seconds = (f"{statistics.median(t):.3f} s" for t in times)
    return (label, f"{ratio(*times):.2f}", target, *seconds)


if __name__ == "__main__":
    sys.stdout.write(f"{_added(int(sys.argv[1]))}\n")
