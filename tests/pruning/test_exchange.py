"""Exchange: against every edge tried, exactly as many edges as before, and never a worse circuit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from support.families import corrupted_run, pairs, subject

import edgewise as ew
import edgewise.pruning.trained_gates
from edgewise.ablations import Corrupted
from edgewise.circuit import Circuit
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.tiling import PROCESSOR, using_tiling
from edgewise.engine.writer_buffer import Workspace
from edgewise.metrics import metric
from edgewise.progress import silent
from edgewise.pruning import exchange
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.exchange import exchanges
from edgewise.pruning.rounding import best_edges
from edgewise.pruning.trained_gates import TrainedGates
from edgewise.request import Request
from edgewise.store.checkpoint import Checkpoint

T = TypeVar("T")
QUICK: dict[str, Any] = {"steps": 6, "batch": 2, "edges": 30}


@cache
def fitted(family: str = "gpt2", dtype: torch.dtype = torch.float32, batch: int = 2) -> TrainedGates:
    on = subject(family, dtype)
    request = Request(on, pairs(), metric("kl"), Corrupted(), batch, silent)
    return TrainedGates(torch.empty(0), on.graph.edge_mask, BatchCache(request), Checkpoint(None, {}), Workspace())


def some_circuit(family: str, n: int, seed: int = 0) -> torch.Tensor:
    graph = subject(family).graph
    noise = torch.randn(graph.edge_mask.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return best_edges(graph, noise, n)


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "toy-attention-only"])
@pytest.mark.parametrize("n", [1, 25])
def test_every_circuit_is_as_large_and_no_worse(family: str, n: int) -> None:
    graph, start = subject(family).graph, some_circuit(family, n)
    seen = [start, *exchanges(fitted(family), graph, start, 5)]
    losses = [fitted(family).loss(mask) for mask in seen]
    assert all(int(mask.sum()) == n and Circuit(graph, mask).has_path for mask in seen)
    assert losses == sorted(losses, reverse=True)
    assert n == 1 or losses[-1] < losses[0]


def test_the_slope_is_the_gradient_of_the_whole_masked_run() -> None:
    on, of, mask = subject("gpt2", torch.float64), pairs(), some_circuit("gpt2", 40)
    leaf = mask.double().requires_grad_()
    kept = Mask(leaf, candidates=on.graph.edge_mask)
    logits = masked_forward(on, of.clean, of.positions, kept, corrupted_run(on, of))
    clean = on.logits(of.clean, of.positions).detach()
    divergence = (clean.softmax(-1) * (clean.log_softmax(-1) - logits.log_softmax(-1))).sum()
    (expected,) = torch.autograd.grad(divergence / len(of), leaf)
    judge = fitted(dtype=torch.float64)
    slope = judge.slope(mask, judge.candidates)
    assert torch.allclose(slope, expected.float(), rtol=1e-4, atol=1e-7)
    inside = judge.slope(mask, mask)
    assert torch.allclose(inside[mask], slope[mask], rtol=1e-4, atol=1e-7)


def test_with_all_changes_tried_a_swing_takes_the_best_edge_in_and_drops_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "TRIED", 10_000)
    graph, judge, start = subject("gpt2").graph, fitted(batch=5), some_circuit("gpt2", 12)

    def flipped(mask: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
        changed = mask.clone()
        changed[tuple(edge)] = ~changed[tuple(edge)]
        return changed

    wider = min((flipped(start, edge) for edge in (graph.edge_mask & ~start).nonzero()), key=judge.loss)
    smaller = (flipped(wider, edge) for edge in wider.nonzero())
    expected = min((mask for mask in smaller if Circuit(graph, mask).has_path), key=judge.loss)
    assert judge.loss(expected) < judge.loss(start)
    first = next(exchanges(judge, graph, start, 1))
    assert judge.loss(first) == pytest.approx(judge.loss(expected), rel=1e-5)


def test_nothing_to_exchange() -> None:
    graph = subject("gpt2").graph
    assert list(exchanges(fitted(), graph, some_circuit("gpt2", 9), 0)) == []
    everything = list(exchanges(fitted(), graph, graph.edge_mask, 5))
    assert all(torch.equal(mask, graph.edge_mask) for mask in everything)


def many(n: int, batch: int) -> TrainedGates:
    of = pairs()[[k % len(pairs()) for k in range(n)]]
    request = Request(subject("gpt2"), of, metric("kl"), Corrupted(), batch, silent)
    return TrainedGates(
        torch.empty(0), subject("gpt2").graph.edge_mask, BatchCache(request), Checkpoint(None, {}), Workspace()
    )


def test_many_batches_are_sampled() -> None:
    judge = many(35, 2)
    assert len(judge.feed) == 18
    assert judge.sample.rows.view(PROCESSOR.sample_batches, 2)[:, 0].tolist() == [0, 4, 8, 12, 18, 22, 26, 30]


def test_what_was_looked_at_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, graph, seen = fitted(batch=5), subject("gpt2").graph, list[bytes]()
    slope = TrainedGates.slope

    def counted(self: TrainedGates, mask: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
        seen.append(mask.numpy().tobytes() + bytes(torch.equal(mask, among)))
        return slope(self, mask, among)

    monkeypatch.setattr(TrainedGates, "slope", counted)
    assert len(list(exchanges(judge, graph, some_circuit("gpt2", 12), 50))) < 50
    assert len(seen) == len(set(seen))


def test_what_runs_together_changes_no_loss() -> None:
    masks = torch.stack([some_circuit("gpt2", 30, seed) for seed in range(3)])
    together = many(7, 2)
    assert len(together.sample) == 1
    with using_tiling(replace(PROCESSOR, sample_bytes=0)):
        apart = many(7, 2)
        assert len(apart.sample) == 4
    losses = apart.losses(masks)
    assert together.losses(masks) == pytest.approx(losses, rel=1e-5)
    assert [apart.loss(mask) for mask in masks] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("method", ["edge-pruning", "hap"])
def test_both_methods_exchange_and_say_how_much(method: str) -> None:
    on = subject("gpt2")
    with_exchanges = ew.discover(on, pairs(), method=method, **QUICK)
    assert with_exchanges.provenance["exchanged"] > 0
    published = ew.discover(on, pairs(), method=method, preset="published", **QUICK)
    assert published.provenance["exchanged"] == 0


@pytest.mark.parametrize("method", ["edge-pruning", "hap"])
def test_a_run_killed_while_edges_are_exchanged_ends_the_same(method: str, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def track(steps: Iterable[T], total: int, label: str, detail: Callable[[T], str] | None = None) -> Iterable[T]:
        for step in steps:
            yield step
            if label == "exchanging edges":
                raise Killed

    on, state = subject("llama"), tmp_path / "state"
    whole = ew.discover(on, pairs(), method=method, **QUICK)
    with pytest.raises(Killed):
        ew.discover(on, pairs(), method=method, checkpoint=str(state), track=track, **QUICK)
    assert state.exists()
    again = ew.discover(on, pairs(), method=method, checkpoint=str(state), **QUICK)
    assert again == whole
    assert again.provenance["final"] == whole.provenance["final"]
    assert not state.exists()
