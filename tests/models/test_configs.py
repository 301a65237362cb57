"""Configs are compared whole: those of well-known checkpoints load, and what could compute something else is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.families import CONFIGS, HUGGING_FACE, gemma2_config, make_model, mistral_config, neox_config
from support.published_configs import LEFT_BEHIND, PUBLISHED

import edgewise as ew
from edgewise.errors import UnsupportedModel
from edgewise.loading import family_of
from edgewise.models.configs import NATIVE


def built(facts: dict[str, Any]) -> Any:
    """The config that transformers makes of a config.json."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**facts)


@pytest.mark.parametrize("name", PUBLISHED)
def test_configs_of_known_checkpoints_load(name: str) -> None:
    ew.load(make_model(built(PUBLISHED[name])))
    ew.load(make_model(built({**PUBLISHED[name], **LEFT_BEHIND})))


@pytest.mark.parametrize("family", HUGGING_FACE)
def test_what_does_not_change_the_logits_is_let_through(family: str) -> None:
    harmless = {
        "attention_dropout": 0.5,
        "chunk_size_feed_forward": 2,
        "is_decoder": True,
        "my_note": "trained on a rainy day",
        "num_labels": 7,
        "output_hidden_states": True,
        "pretraining_tp": 4,
        "problem_type": "regression",
        "use_cache": False,
    }
    model: Any = make_model(CONFIGS[family]())
    for name, value in harmless.items():
        setattr(model.config, name, value)
    ew.load(model)


def test_a_decoder_that_is_not_called_one_is_still_gpt2() -> None:
    model: Any = make_model(CONFIGS["gpt2"]())
    model.config.is_decoder = False
    ew.load(model)


@pytest.mark.parametrize("family", HUGGING_FACE)
@pytest.mark.parametrize(
    ("name", "value"), [("is_causal", False), ("is_encoder_decoder", True), ("return_dict", False)]
)
def test_what_no_family_can_do_without_is_asked_of_all(family: str, name: str, value: Any) -> None:
    model: Any = make_model(CONFIGS[family]())
    setattr(model.config, name, value)
    with pytest.raises(
        UnsupportedModel, match=rf"{type(model).__name__} with {name}={value} is not supported; supported: "
    ):
        ew.load(model)


ADVERSARIAL: dict[str, tuple[Callable[[], Any], str, Any]] = {
    "gpt2": (CONFIGS["gpt2"], "add_cross_attention", True),
    "gemma2 both ways": (gemma2_config, "use_bidirectional_attention", True),
    "gemma2 biased": (gemma2_config, "attention_bias", True),
}


@pytest.mark.parametrize("case", ADVERSARIAL)
def test_values_that_a_family_cannot_do_with(case: str) -> None:
    config, name, value = ADVERSARIAL[case]
    model: Any = make_model(config())
    setattr(model.config, name, value)
    with pytest.raises(UnsupportedModel, match=f"with {name}={value!r} is not supported; supported: "):
        ew.load(model)


def test_layers_of_unlike_configs_are_refused() -> None:
    """Layers that have their own values cannot be told by one graph."""
    model: Any = make_model(mistral_config())
    model.config.per_layer_config = {1: {"attention_dropout": 0.1}}
    with pytest.raises(UnsupportedModel, match="MistralForCausalLM with is_heterogeneous=True is not supported"):
        ew.load(model)


# -- an attribute nobody has heard of ---------------------------------------------------------------------------------


def unheard(**changes: Any) -> Any:
    """A class of the user's own whose code reads an attribute that is in no list."""
    from transformers import LlamaConfig, LlamaForCausalLM

    class OddConfig(LlamaConfig):
        odd_scale: float = 1.0

    class OddForCausalLM(LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            if out.logits.shape[1] > 99:  # on long prompts alone: loading would not notice
                out.logits = out.logits * self.config.odd_scale
            return out

    config = CONFIGS["llama"]().to_dict() | {"odd_scale": 1.0} | changes
    return make_model_of(OddForCausalLM, OddConfig(**config))


def make_model_of(kind: Any, config: Any) -> Any:
    return kind(config).requires_grad_(False).eval()


ODD = replace(family_of("LlamaForCausalLM"), name="odd", architectures=("OddForCausalLM",), handled={})


def test_an_attribute_that_differs_and_is_read_is_named_with_its_value() -> None:
    """What it does on long prompts the self-check, on short ones, would not see."""
    ew.load(unheard(), family=ODD)
    expected = (
        r"OddForCausalLM with odd_scale=2.5 is not known to be handled, only the default 1.0 is; .* name odd_scale in"
    )
    with pytest.raises(UnsupportedModel, match=expected):
        ew.load(unheard(odd_scale=2.5), family=ODD)
    ew.load(unheard(odd_scale=2.5), family=replace(ODD, native=("odd_scale",)))
    ew.load(unheard(odd_scale=2.5), family=replace(ODD, handled={"odd_scale": (1.0, 2.5)}))
    with pytest.raises(UnsupportedModel, match=r"odd_scale=2.5 is not supported; supported: 1.0, 3.0"):
        ew.load(unheard(odd_scale=2.5), family=replace(ODD, handled={"odd_scale": (1.0, 3.0)}))


def test_an_attribute_that_only_the_code_knows_is_named_too() -> None:
    """Put on a config whose class does not declare it: masking code shared by all models reads it nevertheless."""
    model: Any = make_model(neox_config())
    model.config.attention_chunk_size = 4
    with pytest.raises(
        UnsupportedModel, match="attention_chunk_size=4 is not known to be handled, only a config without it is"
    ):
        ew.load(model)


def test_the_text_config_of_a_larger_one_is_compared_as_well() -> None:
    from transformers import MistralConfig

    from edgewise.models.configs import check_config

    class Nested(MistralConfig):
        text_config: Any = None

        def get_text_config(self, decoder: Any = None, encoder: Any = None) -> Any:
            return self if self.text_config is None else self.text_config

    text = mistral_config()
    text.is_causal = False
    model: Any = make_model(mistral_config())
    model.config = Nested(**mistral_config().to_dict())
    check_config(model, replace(family_of("MistralForCausalLM"), native=("text_config",)))
    model.config.text_config = text
    with pytest.raises(UnsupportedModel, match=r"with text_config.is_causal=False is not supported"):
        check_config(model, family_of("MistralForCausalLM"))


def test_a_config_that_declares_nothing_is_compared_with_nothing() -> None:
    from edgewise.models.configs import check_config

    model: Any = make_model(CONFIGS["toy"]())
    model.config = SimpleNamespace(**model.config.to_dict(), causal_or_so=3)
    check_config(model, replace(family_of("ToyTransformer"), native=()))


def test_every_name_in_the_list_is_declared_by_some_class_of_transformers() -> None:
    """No name stands there by mistake, and none that a family could want to limit without knowing."""
    import transformers

    kinds = """GPT2 Llama Mistral Qwen2 Qwen3 GPTNeoX Gemma2 Gemma Gemma3Text GPTNeo GPTJ Phi Phi3 OPT Olmo2 Olmo3 SmolLM3
        Granite Starcoder2 StableLm Qwen3Moe Mixtral"""
    declared = set()
    for kind in kinds.split():
        config = getattr(transformers, f"{kind}Config")
        declared |= set(dir(config)) | set(config.__dataclass_fields__) | set(config.attribute_map)
    # Names that only code or old files know.
    old = {"attention_layers", "gradient_checkpointing", "initializer_factor", "partial_rotary_factor"}
    old |= {"rope_scaling", "rope_theta", "sep_token_id", "summary_last_dropout", "num_labels"}
    assert declared >= NATIVE - old


def test_a_folder_with_what_tools_leave_behind_loads(tmp_path: Path) -> None:
    make_model(mistral_config()).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **LEFT_BEHIND}), encoding="utf-8")
    ew.load(tmp_path)
