"""--kv ungrouped: from discover to evaluate and into the format of libraries that know no shared k and v."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import SMALL, edgewise, refused

import edgewise as ew
from edgewise.graph import Graph
from edgewise.store.eap_ig import read_eap_ig


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
