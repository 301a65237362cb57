"""Adapters: studied on an explicit word, put on by the folder they lie in, refused in one sentence where they do not fit."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import distance, gpt2_config, llama_config, make_model, pairs
from support.kept_weights import KINDS, calm, with_lora

import edgewise as ew
from edgewise.errors import EdgewiseError, InvalidValue, UnknownName, UnsupportedModel

TARGETS = ["q_proj", "o_proj", "up_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    make_model(llama_config()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "adapter"
    adapted = with_lora(make_model(llama_config()), TARGETS)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    with calm():
        adapted.save_pretrained(folder)
    return folder


def adapted_logits() -> torch.Tensor:
    return ew.load(with_lora(make_model(llama_config()), TARGETS), adapter="active").logits(
        pairs().clean, pairs().positions
    )


# -- loaded models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["shell", "tuner", "model"])
def test_without_a_word_adapters_are_refused_and_both_cures_told(part: str) -> None:
    model = with_lora(make_model(gpt2_config()), ["c_attn"], fan_in_fan_out=True)
    given = {"shell": model, "tuner": model.base_model, "model": model.base_model.model}[part]
    with pytest.raises(UnsupportedModel, match=r'adapters that are not merged: merge them .*adapter="active"'):
        ew.load(given)
    assert ew.load(given, adapter="active").graph == ew.load(make_model(gpt2_config())).graph


def test_an_adapter_on_an_mlp_alone_is_refused_too() -> None:
    model = with_lora(make_model(llama_config()), ["down_proj"])
    with pytest.raises(UnsupportedModel, match="adapters that are not merged"):
        ew.load(model)


def test_merged_it_is_a_plain_model_that_gives_the_same() -> None:
    merged = ew.load(with_lora(make_model(llama_config()), TARGETS).merge_and_unload())
    assert distance(merged.logits(pairs().clean, pairs().positions), adapted_logits()) < 1e-5
    assert "adapter" not in merged.identity


def test_the_word_needs_an_adapter_and_a_loaded_model(base: Path) -> None:
    with pytest.raises(InvalidValue, match="LlamaForCausalLM has no adapter: leave it out"):
        ew.load(make_model(llama_config()), adapter="active")
    with pytest.raises(InvalidValue, match="give the adapter's folder"):
        ew.load(base, adapter="active")
    with pytest.raises(InvalidValue, match="cannot be put on a loaded model, which is never changed"):
        ew.load(make_model(llama_config()), adapter="some/folder")


def test_other_kinds_of_adapters_are_refused_by_name() -> None:
    with calm():
        import peft

        scaled = peft.get_peft_model(
            make_model(llama_config()), peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[])
        )
        prompted = peft.get_peft_model(
            make_model(llama_config()), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
        )
    for model, kind in ((scaled, "IA3"), (prompted, "PROMPT_TUNING")):
        with pytest.raises(UnsupportedModel, match=f"of the kind {kind}, and only LORA is supported"):
            ew.load(model, adapter="active")


def test_parts_of_blocks_that_peft_wraps_are_refused_by_their_place() -> None:
    model = with_lora(make_model(llama_config()), ["q_proj"], modules_to_save=["input_layernorm"])
    with pytest.raises(UnsupportedModel, match=r"ModulesToSaveWrapper of peft at model.layers.0.input_layernorm"):
        ew.load(model, adapter="active")


def test_provenance_tells_what_is_on() -> None:
    model = KINDS["two-adapters"]()
    both = ew.load(model, adapter="active").identity
    assert both["adapter"] == "active"
    assert both["adapters"] == ["default", "more"]
    seen = [both]
    model.base_model.set_adapter("more")  # type: ignore[operator, union-attr]
    seen.append(ew.load(model, adapter="active").identity)
    model.base_model.model.model.layers[0].self_attn.o_proj.scaling["more"] *= 2  # type: ignore[index, union-attr]
    seen.append(ew.load(model, adapter="active").identity)
    assert len({one["adapters_applied"] for one in seen}) == 3
    assert len({one["weights"] for one in seen}) == 1


# -- by name ----------------------------------------------------------------------------------------------------------


def test_an_adapter_is_put_on_the_model_of_a_name(base: Path, adapter: Path) -> None:
    plain, adapted = ew.load(base), ew.load(base, adapter=adapter)
    logits = adapted.logits(pairs().clean, pairs().positions)
    assert distance(logits, adapted_logits()) < 1e-5
    assert distance(logits, plain.logits(pairs().clean, pairs().positions)) > 0.1
    assert adapted.name == str(base)
    assert adapted.identity["adapter"] == str(adapter)
    assert adapted.identity["weights"] != plain.identity["weights"]


def test_a_folder_that_is_an_adapter_stands_for_its_base_too(base: Path, adapter: Path) -> None:
    on = ew.load(adapter)
    assert on.name == str(base)
    assert distance(on.logits(pairs().clean, pairs().positions), adapted_logits()) < 1e-5
    with pytest.raises(InvalidValue, match="is an adapter itself"):
        ew.load(adapter, adapter=adapter)


def changed(adapter: Path, to: Path, **config: Any) -> Path:
    shutil.copytree(adapter, to)
    known = json.loads((to / "adapter_config.json").read_text())
    (to / "adapter_config.json").write_text(json.dumps({**known, **config}))
    return to


def test_a_base_that_is_not_told_or_not_there(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"does not say which model it is for; name the model, .* --adapter "):
        ew.load(changed(adapter, tmp_path / "a", base_model_name_or_path=None))
    with pytest.raises(UnknownName, match="no/such-model"):
        ew.load(changed(adapter, tmp_path / "b", base_model_name_or_path="no/such-model"))
    (tmp_path / "b" / "adapter_config.json").write_text("{")
    with pytest.raises(UnsupportedModel, match=r"adapter_config\.json cannot be read"):
        ew.load(tmp_path / "b")


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (llama_config(hidden_size=64), "size mismatch"),
        (llama_config(num_hidden_layers=2), "the model has no place for"),
        (llama_config(num_hidden_layers=5), "it holds no weights for"),
        (gpt2_config(), "target"),
    ],
)
def test_an_adapter_for_another_model_is_refused(config: Any, why: str, adapter: Path, tmp_path: Path) -> None:
    make_model(config).save_pretrained(tmp_path / "other")
    with pytest.raises(UnsupportedModel, match=rf"the adapter {adapter} does not fit .*: .*{why}") as caught:
        ew.load(tmp_path / "other", adapter=adapter)
    assert "\n" not in str(caught.value)


def test_an_adapter_that_is_not_there(base: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "nothing", tmp_path):
        with pytest.raises(EdgewiseError, match="adapter") as caught:
            ew.load(base, adapter=folder)
        assert "\n" not in str(caught.value)


def test_without_peft_the_line_that_installs_it(base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InvalidValue, match=r"pip install 'edgewise\[adapters\]'"):
        ew.load(base, adapter=adapter)


def test_programs_take_none(adapter: Path) -> None:
    with pytest.raises(InvalidValue, match="reverse is built from its program"):
        ew.load("reverse", adapter=adapter)
