"""ACDC's cost per tested edge, against a plain forward and against testing one edge at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import edgewise as ew
from benchmarks.attribution import Row
from benchmarks.setting import plain_forward, random_pairs
from edgewise.engine.board import Workspace
from edgewise.engine.forward import masked_forward
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement

LAYERS, EXAMPLES, TOKENS, TAU = 6, 16, 16, 0.003
# The twin runs a whole masked forward for each removal; so many of them, evenly over the search, give its price.
SAMPLED = 40


@torch.no_grad()
def acdc_cost(rounds: int) -> Iterator[Row]:
    """Seconds per tested removal over a plain forward of all pairs, and the twin's over ours. One search, not `rounds`."""
    torch.manual_seed(0)
    subject = ew.load(GPT2LMHeadModel(GPT2Config(n_layer=LAYERS, initializer_range=0.06)).eval())
    pairs = random_pairs(EXAMPLES, TOKENS)
    plain = _median(lambda: plain_forward(subject, pairs, batch=EXAMPLES), rounds)
    started = time.perf_counter()
    circuit = ew.discover(subject, pairs, method="acdc", tau=TAU)
    each = (time.perf_counter() - started) / circuit.provenance["tested"]
    dense, sparse = (_one_at_a_time(subject, pairs, circuit, skip) for skip in ("nothing", "dead nodes"))
    label = f"{LAYERS} layers, {EXAMPLES} × {TOKENS}, {circuit.provenance['tested']:,} tested, {len(circuit):,} kept"
    seconds = (f"{each * 1e3:.1f} ms", f"{plain * 1e3:.1f} ms")
    yield (f"{label}: per test / plain forward", f"{each / plain:.3f}", "≤ 0.15", *seconds)
    for skip, twin, target in (("nothing", dense, "≥ 12"), ("dead nodes", sparse, "")):
        label = f"a masked run per removal that skips {skip} / ours"
        yield (label, f"{twin / each:.1f}", target, f"{each * 1e3:.1f} ms", f"{twin * 1e3:.1f} ms")


def _one_at_a_time(subject: object, pairs: ew.Pairs, circuit: ew.Circuit, skip: str) -> float:
    """Median seconds of the full masked run that one removal costs the twin, over states along the search."""
    graph, workspace = circuit.graph, Workspace()
    candidates = graph.edge_mask if skip == "nothing" else None
    replacement = Replacement.of_run(record(subject, pairs.corrupted, pairs.positions))  # type: ignore[arg-type]
    times = []
    for number in range(SAMPLED):
        # Readers behind the frontier as the search left them, those before it still whole.
        frontier = len(graph.readers) * number // SAMPLED
        mask = graph.edge_mask.clone()
        mask[:, frontier:] = circuit.mask[:, frontier:]
        run = time.perf_counter()
        masked_forward(
            subject, pairs.clean, pairs.positions, mask, replacement, workspace=workspace, candidates=candidates
        )  # type: ignore[arg-type]
        times.append(time.perf_counter() - run)
    return statistics.mean(times)


def _median(run: object, rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        run()  # type: ignore[operator]
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])
