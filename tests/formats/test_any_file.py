"""`edgewise.open` reads whatever edgewise recognises, and says what a file is that it does not read."""

from __future__ import annotations

import json
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch

import edgewise as ew
from edgewise.errors import FileError
from edgewise.formats import eap_ig_json, eap_ig_nodes_json, eap_ig_pt, format_named
from edgewise.graph import Graph
from edgewise.viewer import Finding

GRAPH = Graph(layers=2, heads=2, kv_heads=2)
CIRCUIT = ew.Circuit.from_edges(GRAPH, ["input->a0.h1<q>", "a0.h1->m1", "m1->logits"])
SCORES = ew.Scores(GRAPH, torch.arange(GRAPH.edge_mask.numel()).reshape(GRAPH.edge_mask.shape) + 1.0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_of_the_eap_ig_library_are_opened(here: Path) -> None:
    Path("both.json").write_text(eap_ig_json(SCORES, CIRCUIT))
    Path("both.pt").write_bytes(eap_ig_pt(SCORES, CIRCUIT))
    Path("no-suffix").write_bytes(eap_ig_pt(SCORES, None))
    for name in ("both.json", "both.pt", "no-suffix"):
        found = ew.open(name)
        assert isinstance(found, ew.Scores)
        assert torch.equal(found.values, SCORES.values)
        assert found.provenance["imported"]["file"] == name
    assert ew.open("both.json").provenance["imported"]["kept"] == 3  # it holds a circuit as well


def test_a_membership_file_is_a_circuit_and_one_of_nodes_scores_of_nodes(here: Path) -> None:
    document = json.loads(eap_ig_json(None, CIRCUIT))
    for entry in document["edges"].values():
        del entry["score"]
    Path("kept.json").write_text(json.dumps(document))
    assert ew.open("kept.json") == CIRCUIT
    nodes = ew.Scores(GRAPH, torch.arange(7.0), level="nodes")
    Path("nodes.json").write_bytes(eap_ig_nodes_json(nodes, None))
    found = ew.open("nodes.json")
    assert isinstance(found, ew.Scores)
    assert (found.level, found.values.tolist()) == ("nodes", nodes.values.tolist())


def test_a_folder_of_a_submission_is_opened(here: Path) -> None:
    Path("ioi_gpt2").mkdir()
    Path("ioi_gpt2/importances.json").write_text(eap_ig_json(SCORES, None))
    assert torch.equal(ew.open("ioi_gpt2").values, SCORES.values)  # type: ignore[union-attr]


def _with_scores(score: Any, count: int) -> str:
    document = json.loads(eap_ig_json(SCORES, CIRCUIT))
    for entry in list(document["edges"].values())[:count]:
        entry["score"] = score
    return json.dumps(document)  # NaN as Python writes it, which JSON does not have


@pytest.mark.parametrize("score", [float("nan"), None])
def test_what_was_never_scored_is_no_score(score: Any, here: Path) -> None:
    Path("none.json").write_text(_with_scores(score, GRAPH.n_edges))
    assert ew.open("none.json") == CIRCUIT
    Path("some.json").write_text(_with_scores(score, 5))
    with pytest.raises(FileError, match=r"5 of \d+ edges were never scored \(NaN or null\), for example input->"):
        ew.open("some.json")


def test_the_same_of_tensors(here: Path) -> None:
    value = torch.load(BytesIO(eap_ig_pt(SCORES, CIRCUIT)), weights_only=True)
    value["edges_scores"][:] = torch.nan
    torch.save(value, "none.pt")
    assert ew.open("none.pt") == CIRCUIT
    value["edges_scores"][0, 0] = 1.0
    torch.save(value, "some.pt")
    with pytest.raises(FileError, match="edges were never scored"):
        ew.open("some.pt")


def test_infinity_is_no_score(here: Path) -> None:
    Path("inf.json").write_text(_with_scores(float("inf"), 1))
    with pytest.raises(FileError, match="Infinity is not a JSON number"):
        ew.open("inf.json")


class Pickled:
    """What a file may hold of another tool."""


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (
            lambda: torch.save(Pickled(), "x.pt"),
            r"more than tensors and plain values: .*Pickled, which only code in the file",
        ),
        (lambda: Path("x.pt").write_bytes(pickle.dumps(Pickled())), "so it is not read"),
        (lambda: Path("x.pt").write_bytes(b"PK\x03\x04 not an archive"), "is damaged, or holds more than tensors"),
        (lambda: Path("x.pt").write_bytes(b""), "is damaged"),
        (lambda: torch.save({"layer.weight": torch.ones(2)}, "x.pt"), r"no 'cfg'.*it holds 1 entries \(layer.weight\)"),
        (lambda: torch.save(torch.ones(2), "x.pt"), "it holds a Tensor"),
    ],
    ids=["object", "bare pickle", "broken", "empty", "weights", "tensor"],
)
def test_what_else_torch_writes_is_refused_in_our_words(write: Any, sentence: str, here: Path) -> None:
    write()
    with pytest.raises(FileError, match=sentence) as found:
        ew.open("x.pt")
    assert "Weights only" not in str(found.value)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 400


def test_an_attribution_graph_is_refused_by_what_it_is(here: Path) -> None:
    form: Any = format_named("neuronpedia")
    Path("ours.json").write_bytes(form.to_bytes(Finding.of(CIRCUIT)))
    Path("theirs.json").write_text('{"metadata": {}, "qParams": {}, "nodes": [], "links": []}')
    for name in ("ours.json", "theirs.json"):
        with pytest.raises(FileError, match=r"is an attribution graph of Neuronpedia or circuit-tracer.*open the file"):
            ew.open(name)
