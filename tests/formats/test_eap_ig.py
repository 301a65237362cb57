"""EAP-IG JSON: both ages are read, sign and grouped heads are converted, and what is written is read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from edgewise.circuit import Circuit
from edgewise.errors import FileError, GraphMismatch, InvalidValue
from edgewise.formats import eap_ig_json, import_finding, read_eap_ig
from edgewise.graph import SEPARATE_INPUTS, Graph
from edgewise.scores import Scores

CFG = {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8}
EDGES = {
    "input->a0.h0<q>": {"score": 0.5, "in_graph": True},
    "input->a0.h0<k>": {"score": 1.0, "in_graph": False},
    "input->a0.h1<k>": {"score": 2.0, "in_graph": True},
    "a0.h0->m0": {"score": -0.25, "in_graph": False},
    "m0->logits": {"score": 3.0, "in_graph": True},
}
NODES = {"input": True, "a0.h0": True, "a0.h1": False, "m0": True, "logits": True}


def new_age() -> dict[str, Any]:
    return {"cfg": CFG, "nodes": {name: {"in_graph": on} for name, on in NODES.items()}, "edges": EDGES}


def old_age() -> dict[str, Any]:
    cfg = {key: value for key, value in CFG.items() if key != "d_model"}
    return {"cfg": cfg, "nodes": NODES, "edges": EDGES, "neurons": {}, "neuron_scores": {}}


def written(document: dict[str, Any], folder: Path) -> Path:
    path = folder / "graph.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("document", [new_age(), old_age()], ids=["new", "old"])
def test_both_ages_are_read(tmp_path: Path, document: dict[str, Any]) -> None:
    scores, circuit = read_eap_ig(written(document, tmp_path))
    assert scores.graph == Graph(1, 2, 2)
    assert scores["m0->logits"] == 3.0
    assert scores["a0.h0->m0"] == -0.25
    assert scores["a0.h1->m0"] == 0.0  # not listed
    assert circuit.edges == ("input->a0.h0<q>", "input->a0.h1<k>", "m0->logits")
    assert scores.provenance["imported"] == {"format": "eap-ig", "file": "graph.json", "sign": 1}


def test_a_membership_file_without_scores_is_a_circuit_alone(tmp_path: Path) -> None:
    document = new_age()
    listed = {name: {"in_graph": edge["in_graph"]} for name, edge in document["edges"].items()}
    nodes = {name: {"in_graph": True} for name in document["nodes"]}
    found = import_finding(written({**document, "edges": listed, "nodes": nodes}, tmp_path))
    assert found.scores is None
    assert found.circuit == import_finding(written(document, tmp_path)).circuit


def test_the_sign_is_a_choice_and_recorded(tmp_path: Path) -> None:
    scores, circuit = read_eap_ig(written(new_age(), tmp_path), sign=-1)
    assert scores["m0->logits"] == -3.0
    assert len(circuit) == 3
    assert scores.provenance["imported"]["sign"] == -1
    with pytest.raises(InvalidValue, match="sign is 0"):
        read_eap_ig(tmp_path / "graph.json", sign=0)


def test_keys_and_values_of_a_group_are_summed(tmp_path: Path) -> None:
    scores, circuit = read_eap_ig(written(new_age(), tmp_path), graph=Graph(1, 2, 1))
    assert scores["input->a0.h0<k>"] == 1.0 + 2.0
    assert scores["input->a0.h0<q>"] == 0.5
    assert "input->a0.h0<k>" in circuit  # kept for one of the two heads


def test_a_graph_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphMismatch, match="of another graph"):
        read_eap_ig(written(new_age(), tmp_path), graph=Graph(2, 2, 2))
    with pytest.raises(GraphMismatch, match="of another graph"):
        read_eap_ig(tmp_path / "graph.json", graph=Graph(1, 2, 2, parallel=True))


@pytest.mark.parametrize(
    "graph", [Graph(2, 4, 4), Graph(2, 4, 2), Graph(2, 4, 1), Graph(2, 2, 2, parallel=True)], ids=str
)
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_written_is_read_back(tmp_path: Path, graph: Graph, sign: int) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = Scores(graph, torch.randn(graph.edge_mask.shape, generator=generator))
    circuit = scores.top(15)
    path = tmp_path / "out.json"
    path.write_text(eap_ig_json(scores, circuit, sign=sign, d_model=8))
    back, kept = read_eap_ig(path, graph=graph, sign=sign)
    torch.testing.assert_close(back.values, scores.values)
    assert kept == circuit


def test_what_is_written_has_what_their_reader_needs() -> None:
    graph = Graph(2, 4, 2)
    scores = Scores(graph, graph.edge_mask.float())
    document = json.loads(eap_ig_json(scores, scores.top(1), d_model=16))
    assert list(document) == ["cfg", "nodes", "edges"]
    cfg = document["cfg"]
    assert {k: cfg[k] for k in CFG} == {"n_layers": 2, "n_heads": 4, "parallel_attn_mlp": False, "d_model": 16}
    ungrouped = Graph(2, 4, 4)
    assert set(document["edges"]) == set(ungrouped.edges)  # their reader knows no other edge names
    assert set(document["nodes"]) == {*ungrouped.writers, "logits"}
    assert all(set(entry) == {"score", "in_graph"} for entry in document["edges"].values())
    assert document["edges"]["input->a0.h3<v>"]["score"] == 0.5  # half of the shared value's 1.0
    assert document["edges"]["input->a0.h3<q>"]["score"] == 1.0
    assert "divided by 2" in cfg["edgewise"]["grouped"]


def test_an_unknown_width_is_marked() -> None:
    cfg = json.loads(eap_ig_json(None, Circuit.full(Graph(1, 1, 1))))["cfg"]
    assert cfg["d_model"] == 1
    assert "not known" in cfg["edgewise"]["d_model"]


def test_a_circuit_without_scores_is_written_as_membership() -> None:
    circuit = Circuit.from_edges(Graph(1, 1, 1), ["m0->logits"])
    edges = json.loads(eap_ig_json(None, circuit))["edges"]
    assert edges["m0->logits"] == {"score": 1.0, "in_graph": True}
    assert edges["input->logits"] == {"score": 0.0, "in_graph": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": {"input->a0.h9<q>": {"score": 1.0, "in_graph": True}}}, "unknown reader 'a0.h9<q>'"),
        ({"edges": {"input->a0.h9<k>": {"score": 1.0, "in_graph": True}}}, "head 9, but there are only 2"),
        ({"edges": {"input->m0": {"score": 1.0}}}, "the key 'edges.input->m0.in_graph' is missing"),
        ({"edges": {"input->m0": {"score": "high", "in_graph": True}}}, "edges.input->m0.score"),
        ({"edges": {"input->m0": {"score": 1e999, "in_graph": True}}}, "not usable JSON|finite"),
        ({"cfg": {"n_heads": 2}}, "the key 'cfg.n_layers' is missing"),
        ({"cfg": {"n_layers": 0, "n_heads": 2}}, "cfg.n_layers"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_eap_ig(written({**new_age(), **change}, tmp_path))


def test_another_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is not an EAP-IG file: it has no 'cfg' and no 'nodes'"):
        read_eap_ig(written({"edges": {}}, tmp_path))


def test_graphs_without_mlps_cannot_be_written() -> None:
    with pytest.raises(InvalidValue, match="has only attention"):
        eap_ig_json(None, Circuit.full(Graph(1, 1, 1, mlps=False)))
    with pytest.raises(InvalidValue, match="give scores, a circuit, or both"):
        eap_ig_json(None, None)


def test_graphs_with_separate_inputs_have_no_such_file(tmp_path: Path) -> None:
    apart = Graph(1, 2, 2, inputs=SEPARATE_INPUTS)
    with pytest.raises(InvalidValue, match="one input writer"):
        eap_ig_json(None, Circuit.full(apart))
    whole = tmp_path / "whole.json"
    whole.write_text(eap_ig_json(None, Circuit.full(Graph(1, 2, 2))))
    assert read_eap_ig(whole, graph=Graph(1, 2, 2))[1] == Circuit.full(Graph(1, 2, 2))
    with pytest.raises(GraphMismatch, match="separate positions"):
        read_eap_ig(whole, graph=apart)
