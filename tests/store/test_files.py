"""Circuits and scores go to files and come back exactly; what cannot be read is refused in one sentence."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import circuits, scores

import edgewise as ew
from edgewise.circuit import Circuit
from edgewise.errors import FileError
from edgewise.graph import ONE_INPUT, SEPARATE_INPUTS, Graph
from edgewise.scores import Scores

GRAPH = Graph(2, 4, 2)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
provenances = st.dictionaries(st.text(), json_values, max_size=4)


def some_scores() -> Scores:
    generator = torch.Generator().manual_seed(0)
    return Scores(GRAPH, torch.randn(GRAPH.edge_mask.shape, generator=generator), {"method": "eap"})


def written(document: object, folder: Path) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps(document))
    return path


def document(**changes: object) -> dict[str, object]:
    graph = {"layers": 2, "heads": 4, "kv_heads": 2, "parallel": False, "mlps": True}
    whole = {"schema": "edgewise/circuit", "version": 1, "graph": graph, "provenance": {}, "edges": ["m0->logits"]}
    return {**whole, **changes}


# -- round trips ------------------------------------------------------------------------------------------------------


@given(circuits(), provenances)
def test_a_circuit_comes_back(circuit: Circuit, provenance: dict[str, object]) -> None:
    circuit = Circuit(circuit.graph, circuit.mask, provenance)
    with tempfile.TemporaryDirectory() as folder:
        path = ew.save(circuit, f"{folder}/circuit.json")
        back = ew.open(path)
        assert back == circuit
        assert dict(back.provenance) == provenance
        first = path.read_bytes()
        assert ew.save(back, path).read_bytes() == first
        assert os.listdir(folder) == ["circuit.json"]


@pytest.mark.parametrize("graph", [GRAPH, Graph(2, 4, 1, mlps=False), Graph(1, 2, 2)])
def test_files_of_earlier_versions_come_back_under_todays_names(graph: Graph, tmp_path: Path) -> None:
    """They called shared keys and values after the first heads: `a0.h1<k>` for what is `a0.kv1<k>` today."""
    values = Scores(graph, torch.randn(graph.edge_mask.shape, generator=torch.Generator().manual_seed(0)))
    for value in (values, values.top(graph.n_edges // 2)):
        today = ew.save(value, tmp_path / "today.json").read_text()
        earlier = today.replace(".kv", ".h")
        assert (earlier == today) == (graph.kv_heads == graph.heads)
        before = written(json.loads(earlier), tmp_path)
        assert ew.save(ew.open(before), before).read_text() == today


@given(scores(), provenances)
def test_scores_come_back_from_safetensors(value: Scores, provenance: dict[str, object]) -> None:
    value = Scores(value.graph, value.values, provenance)
    with tempfile.TemporaryDirectory() as folder:
        path = ew.save(value, f"{folder}/scores.safetensors")
        back = ew.open(path)
        assert isinstance(back, Scores)
        assert back.graph == value.graph
        assert torch.equal(back.values, value.values)
        assert dict(back.provenance) == provenance
        first = path.read_bytes()
        assert ew.save(back, path).read_bytes() == first


@given(scores())
def test_scores_come_back_from_json_to_the_last_bit(value: Scores) -> None:
    value = Scores(value.graph, value.values.clamp(-3e38, 3e38) / 3)
    with tempfile.TemporaryDirectory() as folder:
        back = ew.open(ew.save(value, f"{folder}/scores.json"))
        assert isinstance(back, Scores)
        assert torch.equal(back.values.view(torch.int32), value.values.view(torch.int32))


def test_extreme_floats_survive_json(tmp_path: Path) -> None:
    values = torch.zeros(GRAPH.edge_mask.shape)
    values[0, :4] = torch.tensor([1.4e-45, -0.0, 3.4028235e38, 0.1])
    back = ew.open(ew.save(Scores(GRAPH, values), tmp_path / "s.json"))
    assert torch.equal(back.values.view(torch.int32)[0, :4], values.view(torch.int32)[0, :4])


def test_edges_are_stored_in_index_order_whatever_the_order_they_were_given_in(tmp_path: Path) -> None:
    names = ["m1->logits", "input->a0.h0<q>", "a0.h1->m0"]
    a, b = (Circuit.from_edges(GRAPH, order) for order in (names, names[::-1]))
    assert ew.save(a, tmp_path / "a.json").read_bytes() == ew.save(b, tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text())["edges"] == ["input->a0.h0<q>", "a0.h1->m0", "m1->logits"]


def test_the_order_of_provenance_does_not_change_the_file(tmp_path: Path) -> None:
    a, b = Circuit.full(GRAPH).with_provenance(x=1, y=2), Circuit.full(GRAPH).with_provenance(y=2, x=1)
    assert ew.save(a, tmp_path / "a.json").read_bytes() == ew.save(b, tmp_path / "b.json").read_bytes()


def test_numbers_that_json_has_not_are_null_in_provenance(tmp_path: Path) -> None:
    circuit = Circuit.full(GRAPH).with_provenance(loss=float("nan"), where=Path("x"), pair=(1, 2))
    back = ew.open(ew.save(circuit, tmp_path / "c.json"))
    assert dict(back.provenance) == {"loss": None, "where": "x", "pair": [1, 2]}


def test_saving_replaces_the_old_file_and_goes_through_links(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    ew.save(Circuit.full(GRAPH), link)
    assert link.is_symlink()
    assert ew.open(real) == Circuit.full(GRAPH)


def test_only_graphs_with_separate_inputs_name_their_inputs(tmp_path: Path) -> None:
    """Files from before there were any stay as they were, byte for byte."""
    for inputs in (ONE_INPUT, SEPARATE_INPUTS):
        circuit = Circuit.full(Graph(1, 1, 1, inputs=inputs))
        path = ew.save(circuit, tmp_path / "a.json")
        assert json.loads(path.read_text())["graph"].get("inputs", ["input"]) == list(inputs)
        assert ("inputs" in json.loads(path.read_text())["graph"]) == (inputs == SEPARATE_INPUTS)
        assert ew.open(path) == circuit


# -- refusals of reading ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"written by a newer edgewise \(schema 2; this one reads up to 1\); upgrade"),
        ({"version": "1"}, "schema version '1' is not a whole number"),
        ({"version": 0}, "schema version 0 is not"),
        ({"edgs": []}, "unknown key 'edgs'; did you mean 'edges'"),
        ({"schema": "edgewise/report"}, "holds 'edgewise/report', not a circuit or scores"),
        ({"schema": "other"}, "not a document of edgewise"),
        ({"edges": "m0->logits"}, "edges: input should be a valid list"),
        ({"edges": ["m7->logits"]}, "unknown writer 'm7'"),
        ({"edges": ["m1->m0"]}, "m1 is not computed before m0"),
        ({"edges": ["m0->logits"] * 2}, "1 edges are named twice"),
        ({"graph": {"layers": 2}}, "the key 'graph.heads' is missing"),
        ({"graph": {**document()["graph"], "layers": 0}}, "graph.layers: input should be greater"),  # type: ignore[dict-item]
        ({"graph": {**document()["graph"], "heads": 3}}, "kv_heads must divide heads"),  # type: ignore[dict-item]
        ({"graph": {**document()["graph"], "inputs": ["tokens"]}}, "inputs must be"),  # type: ignore[dict-item]
        ({"graph": {**document()["graph"], "mlp": True}}, "did you mean 'graph.mlps'"),  # type: ignore[dict-item]
        ({"provenance": None}, "provenance: input should be a valid dictionary"),
    ],
)
def test_a_document_that_is_wrong_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = written(document(**changes), tmp_path)
    with pytest.raises(FileError, match=message) as caught:
        ew.open(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b'{"schema": "edgewise/circuit", "edges": [', "is truncated"),
        (b'{"schema": "edgewise/cir', "is truncated"),
        (b"hello", "is not JSON"),
        (b'{"a": 1} x', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[1]", "holds a JSON list"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "is not"),
        (b'{"cfg": {}, "nodes": {}, "edges": {}}', "is an EAP-IG file; use edgewise convert"),
        (b"{}", "not a document of edgewise"),
    ],
)
def test_what_is_not_a_document_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(FileError, match=message):
        ew.open(path)


@given(st.integers(1, 2000))
def test_a_file_cut_anywhere_is_refused(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, value in (
            ("c.json", some_scores().top(9)),
            ("s.json", some_scores()),
            ("s.safetensors", some_scores()),
        ):
            path = ew.save(value, f"{folder}/{name}")
            data = path.read_bytes().rstrip()
            path.write_bytes(data[: max(0, len(data) - cut)])
            with pytest.raises(FileError, match=name):
                ew.open(path)


def test_missing_files_folders_and_locked_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        ew.open(tmp_path / "none.json")
    with pytest.raises(FileError, match="is a folder; name a file in it"):
        ew.open(tmp_path)
    with pytest.raises(FileError, match="cannot be read"):
        ew.open("a\0b.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_permission_denied_is_said(tmp_path: Path) -> None:
    path = ew.save(Circuit.full(GRAPH), tmp_path / "a.json")
    path.chmod(0)
    with pytest.raises(FileError, match="permission denied"):
        ew.open(path)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FileError, match="permission denied"):
            ew.save(Circuit.full(GRAPH), tmp_path / "b.json")
    finally:
        tmp_path.chmod(0o700)


def test_errors_of_the_operating_system_are_said_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ew.save(Circuit.full(GRAPH), tmp_path / "a.json")
    before = path.read_bytes()

    def full_disk(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(FileError, match="cannot be written: no space left on device"):
        ew.save(some_scores().top(1), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_interrupt_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ew.save(Circuit.full(GRAPH), tmp_path / "a.json")

    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ew.save(some_scores().top(1), path)
    monkeypatch.undo()
    assert ew.open(path) == Circuit.full(GRAPH)
    assert os.listdir(tmp_path) == ["a.json"]


# -- scores -----------------------------------------------------------------------------------------------------------


def test_an_edge_under_both_its_names_is_named_twice(tmp_path: Path) -> None:
    today, before = "input->a0.kv1<k>", "input->a0.h1<k>"
    with pytest.raises(FileError, match="1 edges are named twice"):
        ew.open(written(document(edges=[today, before]), tmp_path))
    path = ew.save(some_scores(), tmp_path / "s.json")
    value = json.loads(path.read_text())
    value["edges"][before] = 1.0
    with pytest.raises(FileError, match="1 edges are named twice"):
        ew.open(written(value, tmp_path))
    del value["edges"]["m0->logits"]  # as many names as edges
    with pytest.raises(FileError, match=r"1 of .* edges have no score, for example m0->logits"):
        ew.open(written(value, tmp_path))


def test_scores_without_a_value_for_every_edge_are_refused(tmp_path: Path) -> None:
    path = ew.save(some_scores(), tmp_path / "s.json")
    value = json.loads(path.read_text())
    del value["edges"]["m0->logits"]
    with pytest.raises(FileError, match=r"1 of .* edges have no score, for example m0->logits"):
        ew.open(written(value, tmp_path))


def test_infinite_scores_need_safetensors(tmp_path: Path) -> None:
    values = torch.full(GRAPH.edge_mask.shape, torch.inf)
    with pytest.raises(FileError, match=r"infinite, which JSON cannot hold; save to \.safetensors"):
        ew.save(Scores(GRAPH, values), tmp_path / "s.json")
    assert not list(tmp_path.iterdir())
    assert bool(ew.open(ew.save(Scores(GRAPH, values), tmp_path / "s.safetensors")).values.isinf().any())


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(FileError, match="but not scores of edgewise"):
        ew.open(path)
    header = json.dumps({**document(schema="edgewise/scores")})
    save_file({"values": torch.zeros(2)}, path, metadata={"edgewise": header})
    with pytest.raises(FileError, match="unknown key 'edges'"):
        ew.open(path)
    value = document(schema="edgewise/scores")
    del value["edges"]
    save_file({"values": torch.zeros(2)}, path, metadata={"edgewise": json.dumps(value)})
    with pytest.raises(FileError, match="its tensor is"):
        ew.open(path)


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    value = document(schema="edgewise/scores")
    del value["edges"]
    path = tmp_path / "s.safetensors"
    save_file({"values": torch.full(GRAPH.edge_mask.shape, torch.nan)}, path, metadata={"edgewise": json.dumps(value)})
    with pytest.raises(FileError, match="is NaN"):
        ew.open(path)


# -- refusals of writing ----------------------------------------------------------------------------------------------


def test_saving_where_it_cannot_be_is_refused(tmp_path: Path) -> None:
    circuit = Circuit.full(GRAPH)
    with pytest.raises(FileError, match=r"there is no folder 'none'; make it first"):
        ew.save(circuit, tmp_path / "none" / "a.json")
    with pytest.raises(FileError, match="is a folder"):
        ew.save(circuit, _folder(tmp_path / "f.json"))
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FileError, match="not an ordinary file"):
        ew.save(circuit, tmp_path / "pipe.json")
    with pytest.raises(FileError, match=r"a circuit is saved as \.json"):
        ew.save(circuit, tmp_path / "a.safetensors")
    with pytest.raises(FileError, match="scores are saved as"):
        ew.save(some_scores(), tmp_path / "a.pt")
    with pytest.raises(FileError, match="a dict cannot be saved"):
        ew.save({}, tmp_path / "a.json")  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path)) == ["f.json", "pipe.json"]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
