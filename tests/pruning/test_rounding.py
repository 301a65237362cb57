"""Exactly as many edges as asked for, and the best of those that hang together."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import graphs

from edgewise.circuit import Circuit
from edgewise.errors import InvalidValue
from edgewise.graph import Graph
from edgewise.pruning.rounding import best_edges, widest_path


def noise(graph: Graph, seed: int) -> torch.Tensor:
    return torch.randn(graph.edge_mask.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(graphs(), st.integers(0, 10_000), st.floats(0, 1))
def test_exactly_so_many_edges_and_a_path(graph: Graph, seed: int, share: float) -> None:
    n = max(1, round(share * graph.n_edges))
    circuit = Circuit(graph, best_edges(graph, noise(graph, seed), n))
    assert len(circuit) == n
    assert circuit.has_path


@settings(max_examples=25)
@given(graphs(), st.integers(0, 10_000), st.integers(1, 200))
def test_what_the_best_edges_connect_is_kept(graph: Graph, seed: int, n: int) -> None:
    n, ranking = min(n, graph.n_edges), noise(graph, seed)
    kept = Circuit(graph, best_edges(graph, ranking, n))
    order = sorted(graph.edges, key=lambda edge: -float(ranking[graph.edge_index(edge)]))
    cuts = (Circuit.from_edges(graph, order[:k]).without_dangling() for k in range(graph.n_edges + 1))
    prefix = max((cut for cut in cuts if len(cut) <= n), key=len)
    assert prefix <= kept


@settings(max_examples=40)
@given(graphs(), st.integers(0, 1000), st.integers(1, 5))
def test_the_widest_path(graph: Graph, seed: int, n: int) -> None:
    """Against all sets of at most three edges; longer paths only have to be as wide."""
    ranking = noise(graph, seed)
    path = Circuit(graph, widest_path(graph, ranking, n))
    assert 1 <= len(path) <= n
    assert path.has_path
    assert path.without_dangling() == path
    width = min(float(ranking[graph.edge_index(edge)]) for edge in path.edges)
    if graph.n_edges <= 40:
        every = (
            Circuit.from_edges(graph, some) for k in range(1, min(n, 3) + 1) for some in combinations(graph.edges, k)
        )
        widest = max(min(float(ranking[graph.edge_index(e)]) for e in one.edges) for one in every if one.has_path)
        assert width >= widest


def test_edges_that_may_not_be_kept_are_not() -> None:
    graph = Graph(1, 1, 1)
    ranking = torch.full(graph.edge_mask.shape, -torch.inf, dtype=torch.float64)
    for number, edge in enumerate(("input->a0.h0<v>", "a0.h0->m0", "m0->logits")):
        ranking[graph.edge_index(edge)] = number
    assert len(best_edges(graph, ranking, 3).nonzero()) == 3
    with pytest.raises(InvalidValue, match="2 edges are too few for a path"):
        best_edges(graph, ranking, 2)
    with pytest.raises(InvalidValue, match="asked for 4 edges where only 3 may be kept"):
        best_edges(graph, ranking, 4)


def test_the_next_edges_join_the_circuit_rather_than_dangle() -> None:
    # Best: a path through the MLP; next a dangling edge, then one that joins. Of 3 edges the third is the joining one.
    graph = Graph(2, 1, 1)
    ranking = torch.zeros(graph.edge_mask.shape, dtype=torch.float64)
    for value, edge in ((9, "input->m0"), (8, "m0->logits"), (7, "a0.h0->m1"), (6, "input->logits")):
        ranking[graph.edge_index(edge)] = value
    assert set(Circuit(graph, best_edges(graph, ranking, 3)).edges) == {"input->m0", "m0->logits", "input->logits"}
