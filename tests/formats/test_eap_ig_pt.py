"""EAP-IG `.pt`: what is written is read back and has what their reader needs; nothing in a file is ever run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from edgewise.circuit import Circuit
from edgewise.errors import FileError, GraphMismatch, InvalidValue
from edgewise.formats import eap_ig_pt, read_eap_ig_pt
from edgewise.formats.mib_submission import mib_files, mib_folder
from edgewise.graph import Graph
from edgewise.scores import Scores

GROUPED = Graph(layers=2, heads=4, kv_heads=2)


def scores_on(graph: Graph) -> Scores:
    return Scores(graph, torch.randn(graph.edge_mask.shape, generator=torch.Generator().manual_seed(0)))


def theirs(**changes: Any) -> dict[str, Any]:
    """A file of theirs for one layer of two heads: scores 0, 1, 2, … row by row, every edge kept."""
    graph = Graph(1, 2, 2)
    values = torch.arange(float(graph.edge_mask.numel())).view(graph.edge_mask.shape)
    document: dict[str, Any] = {
        "cfg": {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8},
        "src_nodes": ["input", "a0.h0", "a0.h1", "m0"],
        "dst_nodes": [f"a0.h{head}<{kind}>" for kind in "qkv" for head in range(2)] + ["m0", "logits"],
        "edges_scores": values,
        "edges_in_graph": graph.edge_mask,
        "nodes_in_graph": torch.ones(4, dtype=torch.bool),
    }
    return {**document, **changes}


def written(document: Any, folder: Path) -> Path:
    path = folder / "graph.pt"
    torch.save(document, path)
    return path


def test_a_file_of_theirs_is_read(tmp_path: Path) -> None:
    scores, circuit = read_eap_ig_pt(written(theirs(), tmp_path))
    # Eight columns: row 0 is input, its column 1 the second head's q; row 3 is m0, whose only edge is into logits.
    assert (scores["input->a0.h1<q>"], scores["a0.h0->m0"], scores["m0->logits"]) == (1.0, 14.0, 31.0)
    assert circuit == Circuit.full(Graph(1, 2, 2))
    assert scores.provenance["imported"]["file"] == "graph.pt"
    assert read_eap_ig_pt(written(theirs(), tmp_path), sign=-1)[0]["m0->logits"] == -31.0


def test_keys_and_values_of_a_group_are_summed(tmp_path: Path) -> None:
    """One kv-head for the two query heads: k columns 2 and 3 of row 0 give 5, v columns 4 and 5 give 9."""
    scores, _ = read_eap_ig_pt(written(theirs(), tmp_path), graph=Graph(1, 2, 1))
    assert (scores["input->a0.h0<k>"], scores["input->a0.h0<v>"]) == (5.0, 9.0)


@pytest.mark.parametrize("graph", [Graph(2, 3, 3), GROUPED, Graph(2, 2, 2, parallel=True)])
def test_what_is_written_is_read_back(tmp_path: Path, graph: Graph) -> None:
    scores = scores_on(graph)
    path = tmp_path / "out.pt"
    path.write_bytes(eap_ig_pt(scores, scores.top(9), d_model=8))
    again, circuit = read_eap_ig_pt(path, graph=graph)
    torch.testing.assert_close(again.values, scores.values)
    assert circuit == scores.top(9)


def test_a_shared_head_is_written_once_for_each_query_head() -> None:
    scores = scores_on(GROUPED)
    document = torch.load(io.BytesIO(eap_ig_pt(scores, None, d_model=8)), weights_only=True)
    column = document["dst_nodes"].index("a1.h3<k>")
    assert document["edges_scores"].shape == (11, 27)
    half = scores["m0->a1.h1<k>"] / 2
    assert float(document["edges_scores"][document["src_nodes"].index("m0"), column]) == pytest.approx(half)
    assert "divided by 2" in document["cfg"]["edgewise"]["grouped"]
    assert not document["edges_in_graph"].any()


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("ran",))


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileError, match="more than tensors and plain values"):
        read_eap_ig_pt(written(theirs(cfg=Evil()), tmp_path))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1, 2], "it has no 'cfg'"),
        ({"cfg": {}}, "it has no 'src_nodes'"),
        (theirs(cfg={"n_layers": 0, "n_heads": 2}), "n_layers"),
        (theirs(src_nodes=["input"]), "its nodes do not match its cfg"),
        (theirs(dst_nodes=["logits"]), "its nodes do not match its cfg"),
        (theirs(edges_scores=torch.zeros(2, 2)), "'edges_scores' is not a tensor of shape"),
        (theirs(edges_in_graph=3), "'edges_in_graph' is not a tensor of shape"),
        (theirs(edges_scores=torch.full((4, 8), torch.inf)), "finite number"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_eap_ig_pt(written(document, tmp_path))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = written(theirs(), tmp_path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(FileError, match="is damaged"):
        read_eap_ig_pt(path)
    with pytest.raises(GraphMismatch, match="is of another graph"):
        read_eap_ig_pt(written(theirs(), tmp_path), graph=GROUPED)


# -- the benchmark's folder -------------------------------------------------------------------------------------------


def test_the_folder_is_named_for_task_and_model() -> None:
    assert mib_folder({"task": "arc_easy", "model": "google/gemma-2-2b"}) == "arc-easy_gemma2"
    assert mib_folder({"task": "ioi", "model": "someone/Some-Model"}) == "ioi_some-model"
    with pytest.raises(InvalidValue, match="which task and model they are for"):
        mib_folder({"task": "ioi"})
    with pytest.raises(InvalidValue, match="there is only one circuit"):
        mib_files(None)
