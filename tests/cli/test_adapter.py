"""--adapter: from discover to evaluate and compare, and what is said of one that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import SMALL, edgewise, make_model, refused
from support.kept_weights import calm, with_lora

import edgewise as ew


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters") / "lora"
    with calm():
        tiny = AutoModelForCausalLM.from_pretrained(model)
        with_lora(tiny, ["c_attn", "c_proj"], fan_in_fan_out=True).save_pretrained(folder)
    return folder


def test_a_run_with_an_adapter_is_evaluated_with_it(here: Path, model: Path, adapter: Path) -> None:
    result = edgewise("discover", "--model", model, *SMALL, "--adapter", adapter, "--out", "run", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["recipe"]["adapter"] == str(adapter)
    circuit = ew.open("run/circuit.json")
    assert circuit.provenance["adapters"] == ["default"]
    again = edgewise("evaluate", "run", "--json")
    assert again.exit_code == 0, again.output
    first = json.loads((here / "run" / "report.json").read_text())
    assert json.loads(again.stdout)["report"]["metrics"] == first["metrics"]


def test_without_it_the_circuit_is_one_of_other_weights(here: Path, model: Path, adapter: Path) -> None:
    assert edgewise("discover", "--model", model, *SMALL, "--adapter", adapter, "--out", "run").exit_code == 0
    assert edgewise("discover", "--model", model, *SMALL, "--out", "plain").exit_code == 0
    refused(edgewise("evaluate", "plain", "--adapter", adapter), message="was found with other weights")


def test_compare_takes_it_too(here: Path, model: Path, adapter: Path) -> None:
    few = ["--examples", "4", "--methods", "eap", "--reference", "none", "--pictures", "none"]
    result = edgewise("compare", "--model", model, "--adapter", adapter, *few, "--out", "compared", "--json")
    assert result.exit_code == 0, result.output
    manifest = json.loads((here / "compared" / "manifest.json").read_text())
    assert manifest["model"]["adapter"] == str(adapter)


def test_the_adapter_of_another_model(here: Path, adapter: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", layers=3)
    refused(
        edgewise("discover", "--model", other, *SMALL, "--adapter", adapter, "--out", "run"),
        message=f"the adapter {adapter} does not fit GPT2LMHeadModel: it holds no weights for",
    )
    assert not (here / "run").exists()


def test_an_adapter_given_as_the_model(here: Path, adapter: Path, model: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(model)
    result = edgewise("discover", "--model", adapter, *SMALL, "--out", "run", "--json")
    assert result.exit_code == 0, result.output
    assert ew.open("run/circuit.json").provenance["adapter"] == str(adapter)
