"""Circuits of neurons and scores of nodes go to files and come back exactly; what cannot be read is refused."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import graphs

import edgewise as ew
from edgewise.errors import FileError
from edgewise.graph import Graph
from edgewise.old_names import NeuronCircuit, NeuronScores, NodeScores

GRAPH = Graph(1, 2, 1)


def drawn(graph: Graph, seed: int, neurons: bool = True) -> NodeScores:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(graph.writers), 5, generator=generator)
    return NodeScores(graph, values.sum(dim=1), values if neurons else None, {"method": "eap"})


def document(**changes: Any) -> dict[str, Any]:
    graph = {"layers": 1, "heads": 2, "kv_heads": 1, "parallel": False, "mlps": True}
    head = {"schema": "edgewise/neuron-circuit", "version": 1, "graph": graph, "d_model": 4, "provenance": {}}
    return {**head, "neurons": {"input": [0, 3], "m0": [1]}, **changes}


def written(value: object, folder: Path) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps(value))
    return path


@given(graphs(), st.integers(0, 99), st.integers(0, 10))
def test_a_circuit_of_neurons_comes_back(graph: Graph, seed: int, n: int) -> None:
    circuit = drawn(graph, seed).neuron_scores.top(n, absolute=False)
    with tempfile.TemporaryDirectory() as folder:
        path = ew.save(circuit, f"{folder}/circuit.json")
        back = ew.open(path)
        assert isinstance(back, NeuronCircuit)
        assert back == circuit
        assert back.provenance == circuit.provenance
        first = path.read_bytes()
        assert ew.save(back, path).read_bytes() == first


@given(graphs(), st.integers(0, 99), st.booleans(), st.sampled_from([".json", ".safetensors"]))
def test_scores_of_nodes_come_back(graph: Graph, seed: int, neurons: bool, suffix: str) -> None:
    scores = drawn(graph, seed, neurons)
    with tempfile.TemporaryDirectory() as folder:
        path = ew.save(scores, f"{folder}/scores{suffix}")
        back = ew.open(path)
        assert isinstance(back, NodeScores)
        assert back.graph == graph
        assert torch.equal(back.values, scores.values)
        assert (back.neurons is None) == (not neurons)
        if back.neurons is not None and scores.neurons is not None:
            assert torch.equal(back.neurons, scores.neurons)
        assert back.provenance == {"method": "eap"}
        first = path.read_bytes()
        assert ew.save(back, path).read_bytes() == first


def test_a_document_says_which_coordinates_of_which_writers(tmp_path: Path) -> None:
    circuit = ew.open(written(document(), tmp_path))
    assert isinstance(circuit, NeuronCircuit)
    assert circuit.indices == {"input": [0, 3], "m0": [1]}
    path = ew.save(circuit, tmp_path / "b.json")
    assert json.loads(path.read_text()) == document()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "written by a newer edgewise"),
        ({"neuron": {}}, "unknown key 'neuron'; did you mean 'neurons'"),
        ({"neurons": {"m1": [0]}}, "unknown writer 'm1'; did you mean 'm0'"),
        ({"neurons": {"m0": [4]}}, "m0 has no neuron 4; it has 4"),
        ({"neurons": {"m0": [-1]}}, "m0 has no neuron -1"),
        ({"neurons": {"m0": [1, 1, 2]}}, "1 neurons are named twice"),
        ({"neurons": {"m0": [1.5]}}, "neurons.m0.0: input should be a valid integer"),
        ({"d_model": 0}, "d_model: input should be greater than or equal to 1"),
    ],
)
def test_a_circuit_that_is_wrong_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError, match=message) as caught:
        ew.open(written(document(**changes), tmp_path))
    assert "\n" not in str(caught.value)


def broken_scores(folder: Path, **changes: Any) -> Path:
    value = json.loads(ew.save(drawn(GRAPH, 0), folder / "s.json").read_text())
    return written({**value, **changes}, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": {"input": 1.0}}, "a0.h0 has no score"),
        (
            {"nodes": {"input": 1.0, "a0.h0": 0.0, "a0.h1": 0.0, "m0": 0.0, "m7": 0.0}},
            "m7 is not a writer of its graph",
        ),
        ({"neurons": {"input": [0.0]}}, "a0.h0 has no score"),
        ({"neurons": {w: [0.0] * (1 + (w == "m0")) for w in GRAPH.writers}}, "different numbers of neurons"),
        ({"edges": {}}, "unknown key 'edges'"),
    ],
)
def test_scores_that_are_wrong_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError, match=message):
        ew.open(broken_scores(tmp_path, **changes))


def test_tensors_of_another_graph_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    head = {key: document()[key] for key in ("version", "graph", "provenance")}
    path = tmp_path / "s.safetensors"
    for tensors, kind, message in (
        ({"values": torch.zeros(3)}, "node-scores", r"its tensors \(values torch.float32 \(3,\)\) are not those"),
        ({"values": torch.zeros(4), "neurons": torch.zeros(3, 2)}, "node-scores", "are not those of its graph"),
        ({"values": torch.full((4,), torch.nan)}, "node-scores", "is NaN"),
        ({"values": torch.zeros(4), "other": torch.zeros(1)}, "node-scores", "but not scores of edgewise"),
        ({"values": torch.zeros(GRAPH.edge_mask.shape), "neurons": torch.zeros(4, 2)}, "scores", "but not scores"),
    ):
        save_file(tensors, path, metadata={"edgewise": json.dumps({"schema": f"edgewise/{kind}", **head})})
        with pytest.raises(FileError, match=message):
            ew.open(path)


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    scores = drawn(GRAPH, 0)
    with pytest.raises(FileError, match=r"a circuit is saved as \.json"):
        ew.save(scores.neuron_scores.top(3), tmp_path / "a.safetensors")
    with pytest.raises(FileError, match=r"scores are saved as \.safetensors or \.json"):
        ew.save(scores, tmp_path / "a.pt")
    with pytest.raises(FileError, match="a NeuronScores cannot be saved"):
        ew.save(NeuronScores(GRAPH, torch.zeros(4, 2)), tmp_path / "a.json")  # type: ignore[arg-type]
    infinite = NodeScores(GRAPH, torch.full((4,), torch.inf))
    with pytest.raises(FileError, match=r"input is not finite, which JSON cannot hold; save to \.safetensors"):
        ew.save(infinite, tmp_path / "a.json")
    assert ew.open(ew.save(infinite, tmp_path / "a.safetensors"))["m0"] == torch.inf  # type: ignore[index]
