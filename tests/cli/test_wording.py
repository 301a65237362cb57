"""--bos and --chat-template: what a run was asked with stands in its files, and is asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import SMALL, edgewise, make_model
from transformers import AutoTokenizer

import edgewise as ew

TEMPLATE = "Words:"  # whatever is said: a conversation that the tokenizer of nano has the words for


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, with a chat template."""
    folder = make_model(tmp_path_factory.mktemp("models") / "chatty")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE.replace(
        "m.content", "(m.content if m.content != 'Write a sentence.' else ' the')"
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "given", "first"),
    [("bos", "auto", "<bos>"), ("bos", "no", "When"), ("chat_template", "assistant", "Words")],
)
def test_a_run_says_how_its_prompts_were_put_and_evaluate_repeats_it(
    here: Path, chatty: Path, name: str, given: str, first: str
) -> None:
    option = [f"--{name.replace('_', '-')}", given]
    result = edgewise("discover", "--model", chatty, *SMALL, "--seed", "5", "--curve", "0", *option, "--out", "run")
    assert result.exit_code == 0, result.output
    circuit = ew.open(here / "run" / "circuit.json")
    starts = {example["clean"][0] for example in circuit.provenance["prompts"]}
    assert starts == {first} if first != "When" else "<bos>" not in starts
    assert circuit.provenance.get(name) == (None if given == "auto" else given)
    assert json.loads((here / "run" / "recipe.json").read_text())[name] == given
    again = json.loads(edgewise("evaluate", here / "run", "--json").stdout)["report"]["metrics"]
    assert again == json.loads((here / "run" / "report.json").read_text())["metrics"]
    # A circuit without its recipe still knows: it stands among its own facts.
    bare = circuit.with_provenance(recipe=None)
    ew.save(bare, here / "bare.json")
    assert json.loads(edgewise("evaluate", "bare.json", "--json").stdout)["report"]["metrics"] == again


def test_evaluate_can_ask_in_another_way(a_run: Path) -> None:
    same, other = (edgewise("evaluate", a_run, "--json", "--bos", bos) for bos in ("yes", "no"))
    first = json.loads((a_run / "report.json").read_text())["metrics"]
    assert json.loads(same.stdout)["report"]["metrics"] == first  # the tokenizer puts one by itself
    assert json.loads(other.stdout)["report"]["metrics"] != first


def test_compare_takes_them_too(here: Path, model: Path) -> None:
    few = ["--examples", "4", "--methods", "eap", "--reference", "none", "--edges", "10", "--pictures", "none"]
    found = {bos: edgewise("compare", "--model", model, *few, "--bos", bos, "--json") for bos in ("auto", "yes", "no")}
    results = {bos: json.loads(result.stdout)["results"][0]["curve"] for bos, result in found.items()}
    assert results["auto"] == results["yes"] != results["no"]
