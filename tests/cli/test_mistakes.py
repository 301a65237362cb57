"""Every mistake gets one sentence and exit code 2, an interrupt 130, and neither leaves anything behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import SMALL, edgewise, make_model, refused

from edgewise.runs import resolved
from edgewise.runs import run as run_module


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "iou"], "unknown task 'iou'; did you mean 'ioi'?"),
        (["--method", "eapp"], "unknown method 'eapp'; did you mean 'eap'?"),
        (["--metric", "logit-dif"], "unknown metric 'logit-dif'; did you mean 'logit_diff'?"),
        (["--ablation", "corupted"], "unknown ablation 'corupted'; did you mean 'corrupted'?"),
        (["--corruption", "abcd"], "unknown corruption 'abcd'; did you mean 'abc'?"),
        (["--bos", "maybe"], "bos: input should be 'auto', 'yes' or 'no', not 'maybe'"),
        (["--chat-template", "system"], "chat_template: input should be 'none', 'assistant' or 'user', not 'system'"),
        (["--chat-template", "user"], "this tokenizer has no chat template: leave chat_template at 'none'"),
        (["--dtype", "float23"], "unknown dtype 'float23'; did you mean 'float32'?"),
        (["--ranking", "best"], "ranking: input should be 'absolute' or 'signed', not 'best'"),
        (["--edges", "-1"], "asked for -1 edges; give 1 or more, or a share of all, such as '10%'"),
        (["--edges", "1000000"], "asked for 1,000,000 edges"),
        (["--examples", "0"], "examples: "),
        (["--batch-size", "0"], "batch_size: "),
        (["--memory-limit", "lots"], "'lots' is not a memory limit; write a number and a unit"),
        (["--memory-limit", "2MB", "--method", "acdc"], "a memory limit of 2MB is too small: "),
        (["--memory-limit", "1MB"], "a memory limit of 1MB is too small"),
        (["--data", "nobody/nothing:test"], "the data set nobody/nothing is neither a local file nor on"),
        (["--seed", "-1"], "seed: "),
        (["--stability", "-1"], "stability: "),
        (["--stability", "1"], "1 samples cannot be compared; give at least 2"),
        (["--stability", "9", "--method", "acdc"], "leave the stability out, or use a method that scores edges"),
        (["--stability", "9", "--method", "acdc", "--tau", "1,2"], "is not measured for a sweep of acdc; leave it out"),
        (["--stability", "9", "--method", "hisp"], "leave the stability out, or use a method that scores edges"),
        (["--stability", "9", "--edges", "0"], "asked for 0 edges; give 1 or more"),
        (["--stability", "9", "--examples", "1"], "stability needs at least two examples"),
        (["--option", "x"], "--option 'x' is not usable; write each option once, as key=value"),
        (["--option", "x=1", "--option", "x=2"], "write each option once"),
        (["--option", "steps=0"], "steps=0 must be a whole number of at least 1"),
        (["--option", "points=center"], "eap-ig: points must be 'left', 'middle' or 'right' or none, not 'center'"),
        (["--method", "eap", "--option", "steps=5"], "the method eap has no option 'steps'"),
        (
            ["--method", "eap", "--metric", "kl"],
            "eap cannot use kl, whose gradient is zero at the clean run; use the method eap-ig",
        ),
        (
            ["--metric", "accuracy"],
            "eap-ig cannot use accuracy, whose gradient is zero wherever it exists; use the metric logit_diff, prob_diff",
        ),
        (["--task", "ioi", "--data", "a.csv"], "give a task or a file of data, not both"),
        (["--data", "none.csv"], "none.csv: no such file"),
        (["--data", "empty.csv"], "empty.csv is empty"),
        (["--recipe", "none.json"], "none.json: no such file"),
        (["--recipe", "bad.json"], "unknown key 'modle'; did you mean 'model'?"),
        (["--out", "taken"], "already exists; name a new folder"),
        (["--out", "empty.csv"], "already exists; name a new folder"),
        (["--out", "empty.csv/run"], "cannot be created"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(
    here: Path, model: Path, arguments: list[str], message: str
) -> None:
    Path("empty.csv").write_text("")
    Path("bad.json").write_text('{"modle": "nano"}')
    Path("taken").mkdir()
    Path("taken/mine").write_text("precious")
    before = sorted(here.rglob("*"))
    given = ["--model", str(model), "--examples", "4", *arguments]
    refused(edgewise("discover", *given), message=message)
    refused(edgewise("discover", *given, "--json"), message=message)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("name", ["--model", "not-a-model"])
def test_an_unknown_model_is_said(here: Path, name: str) -> None:
    Path("not-a-model").mkdir()
    result = edgewise("discover", "--model", "nano0" if name == "--model" else "not-a-model")
    refused(result, message="nano0" if name == "--model" else "not-a-model")
    assert os.listdir(here) == ["not-a-model"]


def test_an_unsupported_architecture_is_said(here: Path) -> None:
    from transformers import BloomConfig

    BloomConfig(architectures=["BloomForCausalLM"], n_layer=1, hidden_size=8, n_head=2).save_pretrained("bloom")
    refused(edgewise("discover", "--model", "bloom"), message="BloomForCausalLM is not supported")
    assert os.listdir(here) == ["bloom"]


def test_weights_that_are_not_numbers_are_said(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_model(tmp_path_factory.mktemp("broken"))
    weights = load_file(folder / "model.safetensors")
    weights["transformer.ln_f.weight"][:] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = edgewise("discover", "--model", folder, "--examples", "2")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert not os.listdir(here)


@pytest.mark.parametrize("command", ["evaluate", "show", "convert"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"hello", "is not JSON"),
        (b'{"schema": "edgewise/circuit", "ver', "is truncated"),
        (b'{"schema": "edgewise/circuit", "version": 9}', "was written by a newer edgewise"),
        (b'{"some": "json"}', "not a document of edgewise"),
        (b'{"schema": "edgewise/recipe", "version": 1}', "holds 'edgewise/recipe', not a circuit or scores"),
    ],
)
def test_a_file_that_is_no_circuit_is_said(here: Path, command: str, content: bytes | None, message: str) -> None:
    if content is not None:
        Path("a.json").write_bytes(content)
    more = ["--to", "svg"] if command == "convert" else []
    refused(edgewise(command, "a.json", *more), message=message)
    assert os.listdir(here) == (["a.json"] if content is not None else [])


def test_a_folder_that_is_no_run_is_said(here: Path) -> None:
    refused(edgewise("show", "."), message="is not a run folder: it has no circuit.json")
    refused(edgewise("list", "modles"), message="unknown kind 'modles'; did you mean 'models'?")
    refused(edgewise("convert", ".", "--to", "pdf"), message="unknown format 'pdf'")


def test_pictures_of_unknown_kinds_and_places_are_said(a_run: Path, here: Path) -> None:
    refused(edgewise("show", a_run, "-o", "a.pdf"), message="unknown picture format '.pdf'")
    refused(edgewise("show", a_run, "-o", "none/a.svg"), message="there is no folder 'none'")
    assert not os.listdir(here)


@pytest.mark.parametrize(
    "arguments", [["discover", "--modle", "x"], ["discovr"], ["convert"], ["discover", "--edges", "x"]]
)
def test_usage_errors_exit_with_2(here: Path, arguments: list[str]) -> None:
    result = edgewise(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert not os.listdir(here)


def test_the_folder_is_refused_before_anything_is_computed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolved, "load", lambda *_, **__: pytest.fail("the model must not be loaded"))
    Path("file").write_text("")
    refused(edgewise("discover", "--out", "file/run"), message="cannot be created")


@pytest.mark.parametrize("step", ["load", "run_method", "report_on", "write"])
def test_an_interrupt_leaves_nothing(here: Path, model: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(resolved if step == "load" else run_module, step, interrupted)
    result = edgewise("discover", "--model", model, *SMALL)
    assert result.exit_code == 130
    assert result.stderr == "interrupted; nothing was written\n"
    assert not os.listdir(here)
