"""Where gates sit: masks by hand, and node gates against the nodes they close."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from support.families import FAMILIES, corrupted_run, pairs, subject
from support.strategies import graphs

from edgewise.circuit import Circuit
from edgewise.engine.forward import masked_forward
from edgewise.graph import Graph
from edgewise.pruning.gate_layout import EdgeGates, NodeGates

# input; a0.h0, a0.h1, m0 │ readers: q q k k v v m0 logits: 6 × 1 + 3 + 4 = 13 edges.
SMALL = Graph(1, 2, 2)


def test_a_gate_for_each_edge_lands_on_its_edge() -> None:
    layout = EdgeGates(SMALL, SMALL.edge_mask)
    assert layout.gates == SMALL.n_edges == 13
    values = torch.arange(1.0, 14)
    mask = layout.mask(values)
    assert torch.equal(mask != 0, SMALL.edge_mask)
    assert torch.equal(mask[SMALL.edge_mask], values)
    assert torch.equal(layout.ranking(values), torch.where(SMALL.edge_mask, mask.double(), -torch.inf))


def test_an_edge_is_as_open_as_its_gate_times_its_writers() -> None:
    allowed = torch.zeros_like(SMALL.edge_mask)
    allowed[0, -1] = allowed[3, -1] = True
    layout = EdgeGates(SMALL, allowed, "edges+writers")
    assert layout.gates == 2 + 4
    mask = layout.mask(torch.tensor([0.5, 0.8, 0.25, 1.0, 1.0, 0.5]))
    assert mask[0, -1] == pytest.approx(0.125)
    assert mask[3, -1] == pytest.approx(0.4)
    assert int((mask != 0).sum()) == 2
    # The second edge has the larger logit, but its writer is all but closed.
    ranking = layout.ranking(torch.tensor([1.0, 3.0, 2.0, 0.0, 0.0, -5.0]))
    assert ranking[0, -1] > ranking[3, -1] > ranking[1, -1] == -torch.inf


def test_gates_are_ahead_by_the_logarithm_of_what_their_edges_score() -> None:
    allowed = torch.zeros_like(SMALL.edge_mask)
    allowed[0, 0] = allowed[0, -1] = allowed[3, -1] = allowed[0, 2] = True
    scores = torch.zeros(allowed.shape)
    scores[0, 0], scores[0, -1], scores[3, -1] = 1e-2, -1.0, 1e-2
    # log10: -2, -2 for the score of zero, 0, -2; mean -1.5, deviation √0.75.
    expected = [-0.5 / 0.75**0.5, -0.5 / 0.75**0.5, 1.5 / 0.75**0.5, -0.5 / 0.75**0.5]
    assert EdgeGates(SMALL, allowed).ahead(scores).tolist() == pytest.approx(expected)
    assert EdgeGates(SMALL, allowed, "edges+writers").ahead(scores).tolist() == pytest.approx([*expected, 0, 0, 0, 0])
    for equal in (0.0, 3.0):
        assert EdgeGates(SMALL, allowed).ahead(torch.full(allowed.shape, equal)).tolist() == pytest.approx([0.0] * 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_node_gates_close_what_their_circuit_leaves_out(family: str) -> None:
    """A mask of 0/1 node gates and the edges kept by them compute the same."""
    on, of = subject(family, torch.float64), pairs()
    layout, replacement = NodeGates(on.graph), corrupted_run(on, pairs())
    for seed in range(4):
        open_ = torch.rand(layout.gates, generator=torch.Generator().manual_seed(seed)) < 0.6
        kept = layout.edges(open_)
        ours, theirs = (
            masked_forward(on, of.clean, of.positions, mask.double(), replacement)
            for mask in (layout.mask(open_.double()), kept)
        )
        assert torch.allclose(ours, theirs, atol=1e-9)
        names = dict(zip(on.graph.readers, open_.tolist(), strict=False))
        for edge in Circuit(on.graph, kept).edges:
            assert names.get(edge.partition("->")[2], True)
            assert names.get(edge.partition("->")[0], True)


@given(graphs())
def test_node_gates_all_open_keep_every_edge(graph: Graph) -> None:
    layout = NodeGates(graph)
    assert torch.equal(layout.mask(torch.ones(layout.gates)), graph.edge_mask.float())
    assert torch.equal(layout.edges(torch.ones(layout.gates, dtype=torch.bool)), graph.edge_mask)
    assert float(layout.weights.sum()) == pytest.approx(1)
    closed = Circuit(graph, layout.edges(torch.zeros(layout.gates, dtype=torch.bool)))
    assert closed.edges == tuple(f"{writer}->logits" for writer in graph.inputs)


def test_an_mlp_weighs_as_much_as_all_heads_of_a_kind() -> None:
    weights = NodeGates(Graph(2, 4, 2)).weights.tolist()
    # 2 layers × (q, k, v, MLP) = 8 means; q has 4 heads, k and v have 2.
    assert weights == pytest.approx(([1 / 32] * 4 + [1 / 16] * 4 + [1 / 8]) * 2)


def test_edges_of_node_gates_rank_by_both_ends() -> None:
    layout = NodeGates(SMALL)
    ranking = layout.ranking(torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]))
    # The first q's gate, the MLP's on its way out, and edges without a gate.
    assert ranking[0, 0] == pytest.approx(1 / (1 + 2.718281828**-1))
    assert ranking[3, -1] == pytest.approx(1 / (1 + 2.718281828))
    assert ranking[0, -1] == ranking[1, 6] == 1
    assert ranking[3, 0] == -torch.inf


def test_a_gradient_reaches_every_gate_of_a_node() -> None:
    layout = NodeGates(SMALL)
    gates = torch.full((layout.gates,), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(layout.mask(gates).sum(), gates)
    # A q, k or v has one edge into it; the MLP's gate is on its one edge out.
    assert gradient.tolist() == [1.0] * 7


@pytest.mark.parametrize(
    "layout", [EdgeGates(SMALL, SMALL.edge_mask), EdgeGates(SMALL, SMALL.edge_mask, "edges+writers"), NodeGates(SMALL)]
)
def test_degrees_are_the_logits_of_the_gates_that_an_edge_passes(layout: EdgeGates | NodeGates) -> None:
    """A mask is the product of these gates: of exp(logit) it is exp of their sum."""
    logits = torch.randn(layout.gates, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    degrees = layout.degrees(logits)
    assert torch.allclose(degrees[SMALL.edge_mask].exp(), layout.mask(logits.exp())[SMALL.edge_mask])
    assert not degrees[~SMALL.edge_mask].any()
