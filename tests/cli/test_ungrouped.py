"""--kv ungrouped: from discover to evaluate and into the format of libraries that know no shared k and v."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.command_line import SMALL, edgewise, refused
from typer.testing import Result

import edgewise as ew
from edgewise.formats.eap_ig_json import eap_ig_json, read_eap_ig
from edgewise.formats.eap_ig_pt import eap_ig_pt
from edgewise.graph import Graph


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with two query heads to each k and v, and the tokenizer of nano."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "grouped"
    tokenizer = AutoTokenizer.from_pretrained(Path(str(ew.__file__)).parent / "assets" / "nano")
    shape = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24, "initializer_range": 0.4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **heads, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_run_has_readers_for_every_head_and_comes_back(here: Path, grouped: Path) -> None:
    result = edgewise("discover", "--model", grouped, *SMALL, "--kv", "ungrouped", "--out", "run", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["recipe"]["kv"] == "ungrouped"
    circuit, scores = ew.open("run/circuit.json"), ew.open("run/scores.safetensors")
    assert isinstance(scores, ew.Scores)
    assert circuit.graph == scores.graph == Graph(2, 4, 4)
    again = json.loads(edgewise("evaluate", "run", "--json").stdout)
    assert again["report"]["metrics"] == found["report"]["metrics"]
    assert edgewise("convert", "run", "--to", "eap-ig", "-o", "theirs.json").exit_code == 0
    theirs, _ = read_eap_ig("theirs.json")
    assert theirs.graph == scores.graph
    torch.testing.assert_close(theirs.values, scores.values)


def test_without_it_the_readers_are_shared(here: Path, grouped: Path) -> None:
    assert edgewise("discover", "--model", grouped, *SMALL, "--out", "run", "--quiet").exit_code == 0
    assert ew.open("run/circuit.json").graph == Graph(2, 4, 2)
    refused(edgewise("evaluate", "run", "--kv", "ungrouped"), message="belongs to another graph")


def test_another_choice_is_refused(here: Path, grouped: Path) -> None:
    refused(
        edgewise("discover", "--model", grouped, "--kv", "all"), message="kv: input should be 'native' or 'ungrouped'"
    )


def test_compare_takes_it(here: Path, grouped: Path) -> None:
    arguments = ("--examples", "4", "--methods", "eap", "--reference", "none", "--edges", "20", "--pictures", "none")
    result = edgewise("compare", "--model", grouped, *arguments, "--kv", "ungrouped", "--out", "run", "--json")
    assert result.exit_code == 0, result.output
    scores = [ew.open(path) for path in Path("run").rglob("*.safetensors")]
    assert {one.graph for one in scores} == {Graph(2, 4, 4)}


def theirs(path: str, graph: Graph, seed: int = 0) -> ew.Scores:
    """A file as libraries with a k and a v for every head write it, and the scores in it."""
    values = torch.randn(graph.edge_mask.shape, generator=torch.Generator().manual_seed(seed)) * graph.edge_mask
    scores = ew.Scores(graph, values)
    Path(path).write_bytes(
        eap_ig_pt(scores, scores.top(30)) if path.endswith("pt") else eap_ig_json(scores, None).encode()
    )
    return scores


@pytest.mark.parametrize("file", ["theirs.json", "theirs.pt"])
def test_convert_reads_a_file_of_ungrouped_heads_for_the_model(here: Path, grouped: Path, file: str) -> None:
    scores = theirs(file, Graph(2, 4, 4))
    of = ("--model", grouped, "--to", "safetensors")
    assert edgewise("convert", file, *of, "--kv", "ungrouped", "-o", "apart.safetensors").exit_code == 0
    assert edgewise("convert", file, *of, "-o", "shared.safetensors").exit_code == 0
    apart, shared = ew.open("apart.safetensors"), ew.open("shared.safetensors")
    assert isinstance(apart, ew.Scores)
    assert isinstance(shared, ew.Scores)
    torch.testing.assert_close(apart.values, scores.values)
    assert (shared.graph, shared.provenance.get("kv")) == (Graph(2, 4, 2), None)
    group = apart["input->a1.h2<v>"] + apart["input->a1.h3<v>"]
    assert shared["input->a1.h1<v>"] == pytest.approx(group, abs=1e-6)
    assert edgewise("convert", "apart.safetensors", "--to", "eap-ig", "-o", "back.json").exit_code == 0
    torch.testing.assert_close(read_eap_ig("back.json")[0].values, scores.values)


def test_what_was_read_so_is_evaluated_so(here: Path, grouped: Path) -> None:
    """The provenance says that heads are ungrouped, so only the model has to be named."""
    theirs("theirs.pt", Graph(2, 4, 4))
    how = ("--model", grouped, "--kv", "ungrouped", "--to", "json", "-o", "circuit.json")
    assert edgewise("convert", "theirs.pt", *how).exit_code == 0
    arguments = ("--model", grouped, "--task", "ioi", "--examples", "2", "--json")
    result = edgewise("evaluate", "circuit.json", *arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["circuit"]["total_edges"] == Graph(2, 4, 4).n_edges


def test_files_of_another_layout_are_refused(here: Path, grouped: Path) -> None:
    shared = theirs("divided.json", Graph(2, 4, 2))
    theirs("other.json", Graph(3, 4, 4))
    ew.save(shared, "shared.safetensors")
    document = json.loads(Path("divided.json").read_text())
    del document["cfg"]["edgewise"]
    document["edges"] = {edge: {"score": 1.0, "in_graph": True} for edge in shared.graph.edges}
    Path("listed.json").write_text(json.dumps(document))

    def convert(file: str, *more: str | Path) -> Result:
        return edgewise("convert", file, "--to", "csv", "-o", "out.csv", *more)

    ungrouped = ("--model", grouped, "--kv", "ungrouped")
    refused(convert("divided.json", *ungrouped), message="written from 2 k and v readers that 4 heads share")
    refused(convert("listed.json", *ungrouped), message="lists k and v readers that heads share (2 for 4 heads)")
    refused(
        convert("listed.json", "--model", grouped), message="lists k and v readers that heads share (2 for 4 heads)"
    )
    refused(convert("other.json", *ungrouped), message="is of another graph (3 layers, 4 heads: ")
    refused(convert("shared.safetensors", *ungrouped), message="is of another graph (2 layers, 4 heads (2 kv): ")
    refused(convert("divided.json", "--kv", "ungrouped"), message="--kv needs a model; name it with --model")
    refused(
        convert("divided.json", "--model", grouped, "--kv", "all"),
        message="kv must be 'native' or 'ungrouped', not 'all'",
    )
    assert not Path("out.csv").exists()
    assert convert("divided.json", "--model", grouped).exit_code == 0
    assert convert("shared.safetensors", "--model", grouped, "--out", "again.csv").exit_code == 0
