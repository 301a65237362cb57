"""masked_forward and evaluate against the plain model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch

import edgewise as ew
from benchmarks.attribution import Row
from benchmarks.setting import BATCH, SETTINGS, gpt2_small, interleaved, plain_forward, random_pairs, ratio
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.engine.writer_buffer import Workspace

EDGES = 1000
MASKS = 16


@torch.no_grad()
def dense_forward(rounds: int) -> Iterator[Row]:
    """A masked forward with every edge kept in part, replacement at hand, over a plain forward of the same batch."""
    subject, workspace = ew.load(gpt2_small()), Workspace()
    for tokens in (16, 128):
        pairs = random_pairs(BATCH, tokens)
        replacement = Replacement.of_run(record(subject, pairs.corrupted, pairs.positions))
        # Every edge to a degree of its own: readers that get the same would be served by one input.
        mask = torch.rand(subject.graph.edge_mask.shape, generator=torch.Generator().manual_seed(0))
        mask = mask * subject.graph.edge_mask
        yield _row(
            f"{BATCH} × {tokens} tokens, all edges",
            partial(masked_forward, subject, pairs.clean, pairs.positions, mask, replacement, workspace=workspace),
            lambda p=pairs: plain_forward(subject, p),
            rounds,
            "≤ 3",
        )


@torch.no_grad()
def sparse_evaluation(rounds: int) -> Iterator[Row]:
    """A circuit of 1,000 edges: one masked forward over a plain one; evaluate as a whole over three plain ones."""
    subject, workspace = ew.load(gpt2_small()), Workspace()
    for examples, tokens in SETTINGS:
        pairs = random_pairs(examples, tokens)
        circuit = ew.attribute(subject, pairs, method="eap", batch_size=BATCH).top(EDGES).without_dangling()
        replacements = [Replacement.of_run(record(subject, b.corrupted, b.positions)) for b in pairs.batches(BATCH)]

        def walk(pairs: ew.Pairs = pairs, circuit: ew.Circuit = circuit, replacements: list = replacements) -> None:
            for batch, replacement in zip(pairs.batches(BATCH), replacements, strict=True):
                masked_forward(subject, batch.clean, batch.positions, circuit.mask, replacement, workspace=workspace)

        def whole(pairs: ew.Pairs = pairs, circuit: ew.Circuit = circuit) -> None:
            ew.evaluate(subject, circuit, pairs, metrics=["logit_diff"], batch_size=BATCH, random=None)

        def three(pairs: ew.Pairs = pairs) -> None:
            for _ in range(3):
                plain_forward(subject, pairs)

        label = f"{examples} × {tokens} tokens, {len(circuit):,} edges"
        yield _row(f"{label}, the walk", walk, lambda p=pairs: plain_forward(subject, p), rounds, "≤ 1.5")
        yield _row(f"{label}, evaluate / 3 forwards", whole, three, rounds, "≤ 1.5")


@torch.no_grad()
def neuron_evaluation(rounds: int) -> Iterator[Row]:
    """A circuit of half of all neurons: one masked forward over a plain one."""
    subject, workspace = ew.load(gpt2_small()), Workspace()
    for tokens in (16, 128):
        pairs = random_pairs(BATCH, tokens)
        replacement = Replacement.of_run(record(subject, pairs.corrupted, pairs.positions))
        generator = torch.Generator().manual_seed(0)
        neurons = torch.rand(len(subject.graph.writers), subject.d_model, generator=generator) < 0.5
        mask = Mask.of(ew.NeuronCircuit(subject.graph, neurons))
        yield _row(
            f"{BATCH} × {tokens} tokens, {int(neurons.sum()):,} neurons",
            partial(masked_forward, subject, pairs.clean, pairs.positions, mask, replacement, workspace=workspace),
            lambda p=pairs: plain_forward(subject, p),
            rounds,
            "≤ 1.5",
        )


@torch.no_grad()
def batched_masks(rounds: int) -> Iterator[Row]:
    """16 masks on the batch axis over 16 calls."""
    subject, workspace = ew.load(gpt2_small()), Workspace()
    pairs = random_pairs(2, 16)
    replacement = Replacement.of_run(record(subject, pairs.corrupted, pairs.positions))
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(MASKS, *subject.graph.edge_mask.shape, generator=generator) * subject.graph.edge_mask

    def run(mask: torch.Tensor) -> torch.Tensor:
        return masked_forward(subject, pairs.clean, pairs.positions, mask, replacement, workspace=workspace)

    yield _row(
        f"{MASKS} dense masks, 2 × 16 tokens", lambda: run(masks), lambda: [run(m) for m in masks], rounds, "< 1"
    )


def _row(label: str, ours: Callable[[], object], bound: Callable[[], object], rounds: int, target: str) -> Row:
    times = interleaved(ours, bound, rounds)
    seconds = (f"{statistics.median(t):.3f} s" for t in times)
    return (label, f"{ratio(*times):.2f}", target, *seconds)
