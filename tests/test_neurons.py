"""Circuits of neurons and the scores that select them: against sets and sorts in plain Python, and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import edgewise as ew
from edgewise.errors import EdgewiseError, GraphMismatch, InvalidValue, NumericalError, UnknownName
from edgewise.graph import Graph
from edgewise.neurons import edges_between
from edgewise.old_names import NeuronCircuit, NeuronScores, NodeScores

GRAPH = Graph(layers=1, heads=2, kv_heads=1)
# Writers: input, a0.h0, a0.h1, m0; readers: two q, one k, one v, m0, logits. 4 + 3 + 4 = 11 edges.
VALUES = torch.tensor([[0.5, -2.0, 0.0], [1.0, 1.0, -1.0], [0.0, 0.25, 3.0], [-4.0, 0.0, 0.125]])


def members(circuit: NeuronCircuit) -> set[tuple[str, int]]:
    return {(writer, place) for writer, places in circuit.indices.items() for place in places}


def drawn(seed: int) -> NeuronCircuit:
    return NeuronCircuit(GRAPH, torch.rand(4, 6, generator=torch.Generator().manual_seed(seed)) < 0.4)


@pytest.mark.parametrize("seed", range(5))
def test_the_algebra_is_that_of_sets(seed: int) -> None:
    a, b = drawn(seed), drawn(seed + 100)
    mine, theirs = members(a), members(b)
    assert members(a | b) == mine | theirs
    assert members(a & b) == mine & theirs
    assert members(a - b) == mine - theirs
    assert members(a ^ b) == mine ^ theirs
    assert (a <= b) == (mine <= theirs)
    assert a & b <= a
    assert len(a) == len(mine)
    assert a.jaccard(b) == pytest.approx(len(mine & theirs) / len(mine | theirs))
    assert a != b
    assert a == NeuronCircuit.from_indices(GRAPH, 6, a.indices)
    assert len({a, NeuronCircuit(GRAPH, a.neurons), b}) == 2


def test_the_edges_are_those_between_writers_with_a_neuron() -> None:
    """Of a0.h1 and m0 nothing is kept: their own readers have no edges, but the k and v they share with a0.h0 do."""
    circuit = NeuronCircuit.from_indices(GRAPH, 3, {"a0.h0": [1], "input": [0, 2]})
    expected = {"input->a0.h0<q>", "input->a0.kv0<k>", "input->a0.kv0<v>", "input->logits", "a0.h0->logits"}
    assert set(circuit.circuit.edges) == expected
    assert circuit.nodes == ("input", "a0.h0")
    assert circuit.has_path
    # Four edges from input with 2/3 of it kept, one from a0.h0 with 1/3.
    assert circuit.weighted_edges == pytest.approx(4 * 2 / 3 + 1 / 3)
    assert circuit.describe() == "3 of 12 neurons (25.00%), of 2 of 4 writers"


def test_everything_is_the_whole_graph() -> None:
    circuit = NeuronCircuit.full(GRAPH, 3)
    assert circuit.circuit == ew.Circuit.full(GRAPH)
    assert circuit.weighted_edges == GRAPH.n_edges
    assert (len(circuit), circuit.n_neurons, circuit.d_model) == (12, 12, 3)


def test_neurons_of_writers_on_no_path_dangle() -> None:
    """Without anything of input, nothing is reached; in two layers, a head is read by nobody if only heads before it are."""
    assert len(NeuronCircuit.from_indices(GRAPH, 3, {"m0": [0], "a0.h1": [1]}).without_dangling()) == 0
    kept = drawn(1)
    assert kept.without_dangling() == kept
    assert kept.with_provenance(task="ioi").without_dangling().provenance == {"task": "ioi"}
    assert "no path from input to logits" in NeuronCircuit.from_indices(GRAPH, 3, {"m0": [0]}).describe()


def test_a_notebook_and_a_page_show_its_edges(tmp_path: Path) -> None:
    circuit = NeuronCircuit.from_indices(GRAPH, 3, {"a0.h0": [1], "input": [0, 2]}, {"task": "ioi"})
    assert "<svg" in circuit._repr_html_()
    assert 'data-node="a0.h0"' in ew.show(circuit, tmp_path / "a.svg").read_text()
    assert "3 of 12 (25.00%)" in ew.show(circuit, tmp_path / "a.html").read_text()


def test_the_values_handed_in_are_copied() -> None:
    neurons = torch.zeros(4, 3, dtype=torch.bool)
    circuit = NeuronCircuit(GRAPH, neurons)
    neurons[:] = True
    assert not len(circuit)


# -- scores -----------------------------------------------------------------------------------------------------------


def sorted_by_python(values: Tensor, n: int, absolute: bool) -> set[tuple[str, int]]:
    rows = [(w, i, float(values[w, i])) for w in range(4) for i in range(values.shape[1])]
    rows.sort(key=lambda row: -abs(row[2]) if absolute else -row[2])
    return {(GRAPH.writers[w], i) for w, i, _ in rows[:n]}


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("n", range(13))
def test_the_best_are_those_of_a_sort(n: int, absolute: bool) -> None:
    circuit = NeuronScores(GRAPH, VALUES, {"method": "eap"}).top(n, absolute=absolute)
    assert members(circuit) == sorted_by_python(VALUES, n, absolute)
    assert len(circuit) == n
    assert circuit.provenance["selection"] == {"select": "top", "neurons": n, "absolute": absolute}
    assert circuit.provenance["method"] == "eap"


def test_a_threshold_is_met_by_what_reaches_it() -> None:
    scores = NeuronScores(GRAPH, VALUES)
    assert members(scores.above(2.0)) == {("input", 1), ("a0.h1", 2), ("m0", 0)}
    signed = scores.above(1.0, absolute=False)
    assert members(signed) == {("a0.h0", 0), ("a0.h0", 1), ("a0.h1", 2)}
    assert signed.provenance["selection"] == {"select": "above", "threshold": 1.0, "absolute": False}
    assert scores["a0.h1"].tolist() == [0.0, 0.25, 3.0]


def test_node_scores_hand_out_their_neurons() -> None:
    nodes = NodeScores(GRAPH, VALUES.sum(dim=1), VALUES, {"method": "eap"})
    assert torch.equal(nodes.neuron_scores.values, VALUES)
    assert nodes.neuron_scores.provenance == {"method": "eap"}
    with pytest.raises(InvalidValue, match="have no neurons"):
        _ = NodeScores(GRAPH, VALUES.sum(dim=1)).neuron_scores


def test_nodes_above_a_threshold() -> None:
    """Sums: a0.h0 1, a0.h1 3.25, m0 −3.875; input always stays."""
    nodes = NodeScores(GRAPH, VALUES.sum(dim=1), VALUES)
    assert nodes.above(3.0) == ew.Circuit(GRAPH, edges_between(GRAPH, torch.tensor([True, False, True, True])))
    signed = nodes.above(3.0, absolute=False)
    assert signed == ew.Circuit(GRAPH, edges_between(GRAPH, torch.tensor([True, False, True, False])))
    assert signed.provenance["selection"] == {"select": "above", "threshold": 3.0, "absolute": False}
    assert len(nodes) == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: NeuronScores(GRAPH, VALUES).top(13), InvalidValue, "asked for 13 neurons, but the graph has 12"),
        (lambda: NeuronScores(GRAPH, VALUES).above(torch.nan), InvalidValue, "threshold is nan"),
        (lambda: NodeScores(GRAPH, VALUES[:, 0]).above(torch.nan), InvalidValue, "threshold is nan"),
        (lambda: NeuronScores(GRAPH, VALUES * torch.nan), NumericalError, "neuron 0 of input is NaN"),
        (lambda: NeuronScores(GRAPH, VALUES[:3]), GraphMismatch, "the graph has 4 writers"),
        (lambda: NeuronScores(GRAPH, VALUES)["m7"], UnknownName, "unknown writer 'm7'"),
        (lambda: NeuronCircuit(GRAPH, torch.ones(4)), GraphMismatch, "the graph has 4 writers"),
        (lambda: NeuronCircuit.from_indices(GRAPH, 3, {"m1": [0]}), UnknownName, "did you mean 'm0'"),
        (lambda: NeuronCircuit.from_indices(GRAPH, 3, {"m0": [3]}), InvalidValue, "m0 has no neuron 3; it has 3"),
        (lambda: drawn(1) | NeuronCircuit.full(GRAPH, 3), GraphMismatch, "different graphs"),
    ],
)
def test_refusals(call: Any, error: type[EdgewiseError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
