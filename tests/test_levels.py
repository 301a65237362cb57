"""Circuits and scores of edges, nodes and neurons are values of one kind each, with a level."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

import edgewise as ew
from edgewise.circuit import Circuit
from edgewise.errors import EdgewiseError, GraphMismatch, InvalidValue
from edgewise.graph import Graph
from edgewise.scores import Scores

GRAPH = Graph(layers=1, heads=2, kv_heads=2)
WIDTH = 3
VALUES = torch.arange(len(GRAPH.writers) * WIDTH, dtype=torch.float32).view(-1, WIDTH) - 5
EDGES = Scores(GRAPH, torch.randn(GRAPH.edge_mask.shape, generator=torch.Generator().manual_seed(0)), {"method": "eap"})
NEURONS = Scores(GRAPH, VALUES, {"method": "eap"}, level="neurons")
NODES = NEURONS.of_nodes
SCORES = pytest.mark.parametrize("scores", [EDGES, NODES, NEURONS], ids=lambda scores: scores.level)


@SCORES
def test_a_selection_keeps_as_many_as_it_is_asked_for(scores: Scores) -> None:
    sizes = [len(scores.top(n).kept.nonzero()) for n in range(len(scores) + 1)]
    if scores.level != "nodes":  # whose circuits are made of the edges between them
        assert sizes == list(range(len(scores) + 1))
    assert sizes == sorted(sizes)


@SCORES
def test_values_survive_pickle_and_copies(scores: Scores) -> None:
    for value in (scores, scores.top(2), scores.top(2).circuit):
        for twin in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):  # noqa: S301
            assert type(twin) is type(value)
            assert twin.level == value.level
            assert dict(twin.provenance) == dict(value.provenance)
            assert all(torch.equal(*both) for both in zip(tensors_of(twin), tensors_of(value), strict=True))


def tensors_of(value: Scores | Circuit) -> list[torch.Tensor]:
    """All that makes it equal to another one."""
    return [value.values] if isinstance(value, Scores) else [value.mask, value.kept]


def test_neurons_are_the_parts_of_nodes() -> None:
    assert torch.equal(NODES.values, VALUES.sum(dim=1))
    assert NODES.neuron_scores is NEURONS
    assert NEURONS.at("nodes").values.tolist() == NODES.values.tolist()
    assert EDGES.at("nodes").provenance["nodes"] == "sums over the edges of each writer"
    renamed = NODES.with_provenance(task="ioi")
    assert (renamed.provenance["task"], renamed.neuron_scores.provenance["task"]) == ("ioi", "ioi")


def test_a_circuit_of_edges_is_its_own_circuit() -> None:
    edges, neurons = EDGES.top(4), NEURONS.top(4)
    assert edges.circuit is edges
    assert (neurons.circuit.level, neurons.circuit.mask.tolist()) == ("edges", neurons.mask.tolist())
    assert neurons != neurons.circuit
    assert (edges.total, neurons.total) == (GRAPH.n_edges, VALUES.numel())


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        (lambda: EDGES.top(2) | NEURONS.top(2), GraphMismatch, "circuits are of different graphs"),
        (lambda: EDGES.top(2).d_model, InvalidValue, "a circuit of edges: it has no neurons"),
        (lambda: NODES.greedy(2), InvalidValue, "only edges can be selected greedily, not nodes"),
        (lambda: NODES.at("edges"), InvalidValue, "say nothing about single edges"),
        (lambda: EDGES.at("neurons"), InvalidValue, "have no neurons"),
        (lambda: EDGES.agreement(NODES), GraphMismatch, "scores are of different graphs"),
    ],
)
def test_levels_are_not_mixed(wrong: Callable[[], Any], error: type[EdgewiseError], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        wrong()


def test_agreement_is_measured_at_every_level() -> None:
    for scores in (EDGES, NODES, NEURONS):
        same = scores.agreement(scores, top=2)
        assert (same["overlap"], same["spearman"]) == (1.0, pytest.approx(1.0))


def test_the_old_names_make_the_same_values() -> None:
    assert isinstance(ew.NodeScores(GRAPH, NODES.values, VALUES), Scores)
    assert isinstance(NODES, ew.NodeScores)
    assert not isinstance(NODES, ew.NeuronScores)
    assert isinstance(NEURONS, ew.NeuronScores)
    assert ew.NeuronCircuit(GRAPH, VALUES > 0) == Circuit.of_neurons(GRAPH, VALUES > 0)
    assert isinstance(NEURONS.top(2), ew.NeuronCircuit)
    assert not isinstance(EDGES.top(2), ew.NeuronCircuit)
