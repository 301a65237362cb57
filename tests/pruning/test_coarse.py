"""Gates of blocks and nodes, which close before those of edges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.families import FAMILIES, pairs, subject
from support.strategies import graphs
from support.thinned import thinned

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.engine.peak import PeakBytes
from edgewise.errors import InvalidValue
from edgewise.graph import Graph
from edgewise.metrics import metric
from edgewise.progress import silent
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.coarse import Coarse
from edgewise.pruning.edge_pruning import PRESETS, EdgePruning
from edgewise.pruning.fit import Files
from edgewise.pruning.writer_gates import WriterGates
from edgewise.request import Request, Wanted

# inputs; a0.h0 a0.h1 m0, a1.h0 a1.h1 m1. Edges into layer 0: 1 × 6 + 3; into layer 1: 4 × 6 + 6; into logits: 7.
TWO = Graph(2, 2, 2)
EVERY = torch.ones(7, dtype=torch.bool)
QUICK: dict[str, Any] = {"steps": 12, "batch": 2}


class Killed(Exception):
    pass


def asked(family: str = "gpt2", **wanted: Any) -> Request:
    return Request(
        subject(family),
        pairs(),
        metric("kl"),
        ablation("corrupted"),
        4,
        silent,
        Wanted(**wanted) if wanted else Wanted(),
    )


def test_blocks_close_all_heads_of_a_layer_at_once() -> None:
    layout = WriterGates.of_blocks(TWO, TWO.edge_mask, EVERY)
    assert layout.group.tolist() == [-1, 0, 0, 1, 2, 2, 3]
    assert layout.mask(torch.tensor([0.5, 1.0, 0.25, 0.0])).tolist() == [1, 0.5, 0.5, 1, 0.25, 0.25, 0]


def test_nodes_have_gates_only_where_they_are_open() -> None:
    open_ = torch.tensor([True, True, False, True, False, True, True])
    layout = WriterGates.of_nodes(TWO, TWO.edge_mask, open_)
    assert layout.group.tolist() == [-1, 0, -2, 1, -2, 2, 3]
    assert layout.degrees(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [0, 1, 0, 2, 0, 3, 4]


def test_as_few_of_the_best_nodes_are_open_as_have_the_wanted_edges_between_them() -> None:
    layout = WriterGates.of_nodes(TWO, TWO.edge_mask, EVERY)
    # Edges into the readers of a1.h1, of m0, of m1, and into logits.
    degrees = torch.tensor([0.0, 1.0, 2.0, 5.0, 3.0, 6.0, 4.0])
    names = [["input", "a1.h1"], ["input", "m0", "a1.h1"], ["input", "m0", "a1.h1", "m1"]]
    sizes = [3 + 2, 6 + 1 + 3, 6 + 1 + 3 + 4]
    for some, size in zip(names, sizes, strict=True):
        for room in (size - 1, size):
            best = layout.best(degrees, room)
            assert [name for name, is_open in zip(TWO.writers, best.tolist(), strict=True) if is_open] == some
        assert int(layout.edges_between(best).sum()) == size
    assert layout.best(degrees, 1).tolist() == [True, *[False] * 6]
    assert layout.best(degrees, None).all()
    assert layout.best(degrees, 10**6).all()


@given(graphs(), st.integers(0, 2**31), st.floats(0, 1))
def test_there_is_always_room_enough(graph: Graph, seed: int, share: float) -> None:
    every, generator = torch.ones(len(graph.writers), dtype=torch.bool), torch.Generator().manual_seed(seed)
    for layout in (of(graph, graph.edge_mask, every) for of in (WriterGates.of_blocks, WriterGates.of_nodes)):
        degrees = layout.degrees(torch.randn(layout.gates, generator=generator))
        best, room = layout.best(degrees, round(share * graph.n_edges)), round(share * graph.n_edges)
        assert int(layout.edges_between(best).sum()) >= room
        # Without the worst of the groups there would be too little.
        if bool((best & (layout.group >= 0)).any()):
            worst = layout.group[(best & (layout.group >= 0)).nonzero()[:, 0]]
            dropped = min(worst.tolist(), key=lambda gate: float(degrees[layout.group == gate][0]))
            assert int(layout.edges_between(best & (layout.group != dropped)).sum()) < room


@pytest.mark.parametrize(("gated", "family"), thinned([("edges+nodes",), ("edges+nodes+blocks",)], FAMILIES, one_in=4))
def test_only_edges_between_open_nodes_are_left_to_choose_from(gated: str, family: str) -> None:
    on = subject(family)
    circuit = ew.discover(on, pairs(), method="edge-pruning", edges=20, gated=gated, **QUICK)
    assert len(circuit) == 20
    assert circuit.has_path
    assert 40 <= circuit.provenance["between_open_nodes"] < on.graph.n_edges


@pytest.mark.parametrize("levels", [("nodes",), ("blocks", "nodes")])
def test_what_matters_stays_open(levels: tuple[str, ...]) -> None:
    """Between the nodes that training leaves open lies more of the behaviour than between as good as any others."""
    on, of = ew.load("nano"), ew.task("ioi")
    found_on = of.pairs(on.tokenizer, n=64, seed=7)
    request = replace(asked(), subject=on, pairs=found_on)
    coarse = Coarse(levels, PRESETS["default"], 0, Files({}))
    left, _ = coarse.close(on.graph, on.graph.edge_mask, 40, BatchCache(replace(request, batch_size=4)))
    unseen = of.pairs(on.tokenizer, n=64, seed=8, apart_from=found_on)
    report = ew.evaluate(on, ew.Circuit(on.graph, left), unseen, metrics=["kl"], random=None)
    assert int(left.sum()) < 0.45 * on.graph.n_edges
    assert report["kl"].circuit < 0.1


def test_an_interrupted_run_goes_on_from_whichever_gates_it_was_at(tmp_path: Path) -> None:
    on, how = subject("llama"), {"method": "edge-pruning", "edges": 20, "gated": "edges+nodes+blocks", **QUICK}
    whole = ew.discover(on, pairs(), **how)
    seen: list[int] = []
    ew.discover(on, pairs(), track=_failing(seen, None), **how)
    assert seen == [2, 2, 4]
    for cut in (1, 3, 5):
        with pytest.raises(Killed):
            ew.discover(on, pairs(), checkpoint=str(tmp_path / "state"), track=_failing([], cut), **how)
    assert ew.discover(on, pairs(), checkpoint=str(tmp_path / "state"), **how) == whole
    assert not list(tmp_path.iterdir())


def _failing(seen: list[int], after: int | None) -> Any:
    """A Track that notes how many steps each training takes, and fails after so many in all."""

    def track(every: Any, total: int, label: str, detail: Any = None) -> Any:
        if label != "training gates":
            yield from every
            return
        seen.append(0)
        for step in every:
            seen[-1] += 1
            if after is not None and sum(seen) > after:
                raise Killed
            yield step

    return track


def test_it_takes_less_memory_than_gates_of_edges_alone() -> None:
    peaks = []
    for gated in ("edges", "edges+nodes"):
        request = asked("llama")
        with PeakBytes(request.subject.device) as bytes_:
            EdgePruning(edges=20, gated=gated, **QUICK).search(request)  # type: ignore[arg-type]
        peaks.append(bytes_.peak)
    assert peaks[1] < peaks[0]


def test_gates_that_are_drawn_come_without_gates_of_nodes() -> None:
    with pytest.raises(InvalidValue, match=r"gated=edges\+nodes needs the preset default"):
        ew.discover(subject("gpt2"), pairs(), method="edge-pruning", gated="edges+nodes", preset="published", edges=20)
