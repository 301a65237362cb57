"""Nodes and neurons in EAP-IG files: what is written is read back, files of theirs are read, and the rest is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.errors import EdgewiseError, FileError, GraphMismatch, InvalidValue
from edgewise.formats import eap_ig_nodes_json, eap_ig_nodes_pt, read_eap_ig, read_eap_ig_nodes
from edgewise.formats.mib_submission import mib_files
from edgewise.formats.reading import import_finding
from edgewise.graph import SEPARATE_INPUTS, Graph
from edgewise.old_names import NeuronCircuit, NodeScores

WRITE = {".json": eap_ig_nodes_json, ".pt": eap_ig_nodes_pt}
WIDTH = 6
every_form = pytest.mark.parametrize("suffix", WRITE)


def scores_on(graph: Graph, seed: int = 0) -> NodeScores:
    values = torch.randn(len(graph.writers), WIDTH, generator=torch.Generator().manual_seed(seed))
    return NodeScores(graph, values.sum(dim=1), values)


def written(value: bytes, folder: Path, suffix: str) -> Path:
    path = folder / f"graph{suffix}"
    path.write_bytes(value)
    return path


def theirs(**changes: Any) -> dict[str, Any]:
    """A pruned circuit of theirs: one layer of two heads, three coordinates; a0.h1 and half of the rest is gone."""
    graph = Graph(1, 2, 2)
    kept = torch.tensor([[True, False, True], [False, True, False], [False] * 3, [True, False, False]])
    nodes = kept.any(dim=1)
    edges = NeuronCircuit(graph, kept).circuit
    return {
        "cfg": {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 3},
        "src_nodes": list(graph.writers),
        "dst_nodes": list(graph.readers),
        "edges_scores": torch.zeros(graph.edge_mask.shape),
        "edges_in_graph": edges.mask,
        "nodes_in_graph": nodes,
        "neurons_in_graph": kept,
        "neurons_scores": torch.arange(12.0).view(4, 3) * kept,
        **changes,
    }


def saved(document: dict[str, Any], folder: Path) -> Path:
    path = folder / "graph.pt"
    torch.save(document, path)
    return path


@every_form
@pytest.mark.parametrize("graph", [Graph(2, 4, 4), Graph(2, 4, 2), Graph(2, 2, 2, parallel=True)], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str, graph: Graph, sign: int) -> None:
    scores = scores_on(graph)
    circuit = scores.neuron_scores.top(20)
    path = written(WRITE[suffix](scores, circuit, sign=sign), tmp_path, suffix)
    nodes, neurons = read_eap_ig_nodes(path, graph=graph, sign=sign)
    assert nodes is not None
    assert neurons == circuit
    torch.testing.assert_close(nodes.values, scores.values)
    assert nodes.neurons is not None
    assert torch.equal(nodes.neurons, scores.neuron_scores.values)
    assert nodes.provenance["d_model"] == WIDTH


@every_form
def test_scores_alone_a_circuit_alone_and_scores_of_nodes_alone(tmp_path: Path, suffix: str) -> None:
    graph = Graph(2, 2, 2)
    scores = scores_on(graph)
    nodes, neurons = read_eap_ig_nodes(written(WRITE[suffix](scores, None), tmp_path, suffix))
    assert neurons is None
    assert nodes is not None
    circuit = scores.neuron_scores.top(9)
    members, neurons = read_eap_ig_nodes(written(WRITE[suffix](None, circuit), tmp_path, suffix))
    assert neurons == circuit
    assert members is not None
    assert members.neurons is not None
    assert torch.equal(members.neurons, circuit.neurons.float())
    of_nodes = NodeScores(graph, scores.values)
    path = written(WRITE[suffix](of_nodes, of_nodes.top(2), d_model=WIDTH), tmp_path, suffix)
    nodes, neurons = read_eap_ig_nodes(path)
    assert neurons is None
    assert nodes is not None
    assert nodes.neurons is None
    found = import_finding(path)
    assert found.circuit == of_nodes.top(2)
    assert found.scores is None
    assert found.node_scores is not None


def test_a_file_of_theirs_is_read(tmp_path: Path) -> None:
    nodes, neurons = read_eap_ig_nodes(saved(theirs(), tmp_path))
    assert neurons is not None
    assert nodes is not None
    assert neurons.indices == {"input": [0, 2], "a0.h0": [1], "m0": [0]}
    # Sums over what they scored: 0 + 2, 4, nothing, 9.
    assert nodes.values.tolist() == [2.0, 4.0, 0.0, 9.0]
    assert neurons.provenance["imported"]["file"] == "graph.pt"
    found = import_finding(saved(theirs(), tmp_path))
    assert found.neurons == neurons
    assert found.circuit == neurons.circuit


def test_a_circuit_that_they_did_not_prune_is_read_too(tmp_path: Path) -> None:
    """They switch on all edges out of a node that is kept, those into nodes that are not among them."""
    document = theirs()
    rows = document["nodes_in_graph"][:, None] & Graph(1, 2, 2).edge_mask
    assert (
        read_eap_ig_nodes(saved(theirs(edges_in_graph=rows), tmp_path))[1]
        == read_eap_ig_nodes(saved(document, tmp_path))[1]
    )


def test_scores_that_were_never_made_are_none(tmp_path: Path) -> None:
    blank = torch.full((4, 3), torch.nan)
    nothing = torch.zeros(4, 3, dtype=torch.bool)
    path = saved(theirs(neurons_in_graph=nothing, neurons_scores=blank), tmp_path)
    assert read_eap_ig_nodes(path) == (None, None)


def test_what_is_written_has_what_their_reader_needs(tmp_path: Path) -> None:
    graph = Graph(1, 4, 2)
    scores = scores_on(graph)
    circuit = NeuronCircuit.from_indices(graph, WIDTH, {"input": [1], "a0.h3": [0, 5]})
    document = json.loads(eap_ig_nodes_json(scores, circuit))
    assert document["cfg"]["d_model"] == WIDTH
    assert document["nodes"]["a0.h3"]["neurons"] == [True, False, False, False, False, True]
    assert document["nodes"]["a0.h2"]["in_graph"] is False
    assert document["nodes"]["a0.h3"]["score"] == pytest.approx(scores["a0.h3"])
    assert {"in_graph"} == document["nodes"]["logits"].keys()
    assert document["edges"]["input->a0.h3<k>"] == {"score": 0.0, "in_graph": True}
    value = torch.load(written(eap_ig_nodes_pt(scores, circuit), tmp_path, ".pt"), weights_only=True)
    shapes = {name: (value[name].dtype, tuple(value[name].shape)) for name in value if name.startswith("n")}
    assert shapes == {
        "nodes_in_graph": (torch.bool, (6,)),
        "nodes_scores": (torch.float32, (6,)),
        "neurons_in_graph": (torch.bool, (6, WIDTH)),
        "neurons_scores": (torch.float32, (6, WIDTH)),
    }
    assert value["nodes_in_graph"].tolist() == [True, False, False, False, True, False]


def test_files_of_edges_have_no_nodes(tmp_path: Path) -> None:
    """Nor has the older age, in which nodes are plain booleans."""
    cfg = {"n_layers": 1, "n_heads": 2}
    nodes = {"input": True, "a0.h0": True, "a0.h1": False, "m0": True, "logits": True}
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"cfg": cfg, "nodes": nodes, "edges": {}}))
    assert read_eap_ig_nodes(path) == (None, None)
    assert read_eap_ig(path)[1] == Circuit.from_edges(Graph(1, 2, 2), [])


def test_the_benchmark_takes_scores_of_nodes(tmp_path: Path) -> None:
    files = mib_files(scores_on(Graph(1, 2, 2)))
    assert list(files) == ["importances.json"]
    nodes, _ = read_eap_ig_nodes(written(files["importances.json"], tmp_path, ".json"))
    assert nodes is not None
    assert nodes.neurons is not None


def half(table: Tensor) -> Tensor:
    table = table.clone()
    table[0] = torch.nan
    return table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neurons_in_graph": torch.ones(3, 3)}, "'neurons_in_graph' is not a tensor with a row for each of 4 nodes"),
        ({"neurons_scores": 3}, "'neurons_scores' is not a tensor"),
        ({"nodes_scores": torch.zeros(4, 2)}, "'nodes_scores' is not a tensor"),
        ({"nodes_scores": half(torch.zeros(4))}, "'nodes_scores' has no value for some"),
        ({"neurons_scores": half(torch.zeros(4, 3))}, "'neurons_scores' has no value for some"),
        ({"edges_in_graph": torch.zeros(4, 8, dtype=torch.bool)}, "does not keep exactly the edges between"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_eap_ig_nodes(saved(theirs(**changes), tmp_path))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"in_graph": True, "neurons": [True, "maybe"]}, "nodes: neurons.1: input should be a valid boolean"),
        ({"in_graph": True, "neurons": [True]}, "the nodes do not all have 'neurons', or not equally many"),
        ({"in_graph": True, "score": 1.0}, "the nodes do not all have 'score'"),
    ],
)
def test_a_json_that_is_wrong_is_refused(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    circuit = NeuronCircuit.full(Graph(1, 1, 1), 2)
    document = json.loads(eap_ig_nodes_json(None, circuit))
    document["nodes"]["m0"] = entry
    with pytest.raises(FileError, match=message):
        read_eap_ig_nodes(written(json.dumps(document).encode(), tmp_path, ".json"))


@every_form
@pytest.mark.parametrize(
    ("scores", "circuit", "error", "message"),
    [
        (None, None, InvalidValue, "give scores of nodes, a circuit, or both"),
        (scores_on(Graph(1, 2, 2)), Circuit.full(Graph(1, 1, 1)), GraphMismatch, "different graphs"),
        (scores_on(Graph(1, 1, 1)), NeuronCircuit.full(Graph(1, 1, 1), 2), GraphMismatch, "different widths: 2 and 6"),
        (NodeScores(Graph(1, 1, 1), torch.full((3,), torch.inf)), None, InvalidValue, "some scores are infinite"),
        (scores_on(Graph(1, 1, 1, inputs=SEPARATE_INPUTS)), None, InvalidValue, "one input writer"),
    ],
)
def test_what_their_files_cannot_hold_is_refused(
    suffix: str, scores: Any, circuit: Any, error: type[EdgewiseError], message: str
) -> None:
    with pytest.raises(error, match=message):
        WRITE[suffix](scores, circuit)
