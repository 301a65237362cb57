"""Streams and their wiring: what a reader gets is what it gets when every writer is added up one by one."""

from __future__ import annotations

import pytest
import torch
from support.families import pairs, subject
from torch import Tensor

from edgewise.ablations import ablation
from edgewise.metrics import metric
from edgewise.models import Subject
from edgewise.progress import silent
from edgewise.request import Request
from edgewise.search.incremental.cached import CachedFrontier
from edgewise.search.incremental.streams import Intake, Wiring

FAMILIES = ("gpt2", "llama", "neox-parallel", "toy-separate-inputs")


def front_of(on: Subject, mask: Tensor) -> CachedFrontier:
    """A frontier whose circuit is `mask`, its nodes as they are in the clean run."""
    batch = next(Request(on, pairs(), metric("kl"), ablation("corrupted"), 2, silent).together().each_batch())
    front = CachedFrontier(on, batch.pairs, batch.replacement, on.graph.edge_mask.clone())
    front.mask.copy_(mask)
    front.settle()
    return front


def some_edges(on: Subject) -> Tensor:
    """A third of the edges, and all into `logits`."""
    drawn = torch.rand(on.graph.edge_mask.shape, generator=torch.Generator().manual_seed(0)) < 1 / 3
    drawn[:, -1] = True
    return drawn & on.graph.edge_mask


def summed(front: CachedFrontier, intake: Intake, rows: Tensor) -> Tensor:
    """[token, d_model], for rows [writer, token, d_model] at the active tokens."""
    wanted = rows[:, front.places.answers_active] if intake.late else rows
    return front.replaced.stream(intake.site, intake.late) + wanted[list(intake.writers)].sum(dim=0)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_stream_is_the_sum_of_its_writers(family: str) -> None:
    on = subject(family, torch.float64)
    front = front_of(on, some_edges(on))
    for reader in range(len(on.graph.readers)):
        intake = front.wiring.intake(reader)
        assert intake.writers == tuple(front.mask[:, reader].nonzero().flatten().tolist())
        torch.testing.assert_close(front.streams.last(intake), summed(front, intake, front.streams.rows))


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_changed_rows_count_in_their_trials_and_stay_when_stored(family: str) -> None:
    on = subject(family, torch.float64)
    front = front_of(on, some_edges(on))
    graph, streams = on.graph, front.streams
    # A head and an MLP of the middle, and the last MLP.
    writers = (graph.writer_index["a1.h0"], graph.writer_index["m1"], len(graph.writers) - 1)
    changed = {
        writer: torch.randn(3, front.places.tokens(front.wiring.late[writer]).numel(), on.d_model, dtype=torch.float64)
        for writer in writers
    }
    whole = streams.rows.repeat(3, 1, 1, 1)
    for writer, rows in changed.items():
        where = front.places.answers_active if front.wiring.late[writer] else slice(None)
        whole[:, writer, where] = rows
    readers = [
        reader for reader in range(len(graph.readers)) if changed.keys() & set(front.wiring.intake(reader).writers)
    ]
    for reader in readers:
        intake = front.wiring.intake(reader)
        expected = torch.stack([summed(front, intake, rows) for rows in whole])
        got = streams.now(intake, changed)
        torch.testing.assert_close(got.expand_as(expected), expected)
    streams.store(changed, 1)
    for reader in readers:
        intake = front.wiring.intake(reader)
        torch.testing.assert_close(streams.last(intake), summed(front, intake, whole[1]))
        torch.testing.assert_close(streams.now(intake, {})[0], summed(front, intake, whole[1]))


def test_wiring_is_of_the_moment() -> None:
    graph = subject("gpt2").graph
    mask = graph.edge_mask.clone()
    wiring = Wiring(graph, mask)
    mask[:, -1] = False
    last = len(graph.readers) - 1
    assert wiring.intake(last).writers == tuple(range(len(graph.writers)))
    assert last in wiring.read_by(0)
    assert Wiring(graph, mask).intake(last).writers == ()


def test_readers_of_one_attention_share_a_site_and_only_queries_are_late() -> None:
    graph = subject("gpt2").graph
    mask = torch.zeros_like(graph.edge_mask)
    mask[:, -1] = True  # all writers are read at the answers alone
    wiring, layer = Wiring(graph, mask), 1
    readers = graph.attention_readers(layer)
    assert {wiring.intake(reader).site for reader in range(readers.start, readers.stop)} == {readers.start}
    assert all(wiring.late[len(graph.inputs) :])
    late = [wiring.late_reader[reader] for reader in range(readers.start, readers.stop)]
    assert late == [True] * graph.heads + [False] * 2 * graph.kv_heads
    assert wiring.intake(graph.mlp_reader(layer)) == Intake(graph.mlp_reader(layer), True, ())
