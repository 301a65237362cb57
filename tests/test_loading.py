"""Loading: what is found, in which dtype, and what is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import CONFIGS, FAMILIES, HUGGING_FACE, VOCAB, gpt2_config, make_model, pairs, toy_config
from support.thinned import thinned
from torch import nn

import edgewise as ew
from edgewise import loading
from edgewise.engine.self_check import self_check
from edgewise.errors import InvalidValue, NumericalError, PairsError, UnknownName, UnsupportedModel
from edgewise.models import FAMILIES as KNOWN
from edgewise.programs import PROGRAMS


@pytest.fixture(scope="module", autouse=True)
def quiet_transformers() -> Any:
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every Hugging Face family as a local folder, without a tokenizer."""
    root, places = tmp_path_factory.mktemp("models"), {}
    for family in HUGGING_FACE:
        places[family] = root / family
        make_model(CONFIGS[family]()).save_pretrained(places[family])
    return places


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out = model(input_ids=pairs().clean).logits
    return out[torch.arange(len(pairs())), pairs().positions]


# -- what works -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", HUGGING_FACE)
def test_a_local_folder_gives_the_same_logits(folders: dict[str, Path], family: str) -> None:
    subject = ew.load(str(folders[family]))
    assert torch.equal(subject.logits(pairs().clean, pairs().positions), logits(make_model(CONFIGS[family]())))
    assert subject.name == str(folders[family])
    assert subject.tokenizer is None
    assert not subject.model.training
    assert ew.load(folders[family]).graph == subject.graph


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_model_is_taken_as_it_is(family: str) -> None:
    model, tokenizer = make_model(CONFIGS[family]()), object()
    subject = ew.load(model, tokenizer=tokenizer)
    assert subject.model is model
    assert subject.tokenizer is tokenizer
    assert subject.name == type(model).__name__
    assert repr(subject).startswith(f"<Subject: {subject.name}, 3 layers, 4 heads")


@pytest.mark.parametrize(
    ("dtype", "family"),
    thinned([(dtype,) for dtype in ("bfloat16", "float16", "float64", torch.bfloat16)], HUGGING_FACE, one_in=4),
)
def test_dtypes(folders: dict[str, Path], dtype: Any, family: str) -> None:
    subject = ew.load(folders[family], dtype=dtype)
    assert str(subject.dtype).endswith(str(dtype).removeprefix("torch."))
    assert subject.identity["dtype"] == str(dtype).removeprefix("torch.")
    assert ew.attribute(subject, pairs()).values.isfinite().all()


@pytest.mark.parametrize("stored", ["bfloat16", "float16", "float64"])
def test_the_checkpoint_says_the_dtype(tmp_path: Path, stored: str) -> None:
    make_model(gpt2_config()).to(getattr(torch, stored)).save_pretrained(tmp_path)
    assert ew.load(tmp_path).identity["dtype"] == stored


def too_large_for_float16() -> Any:
    """A model whose weights are numbers in float16, and what its MLPs make of them are not."""
    model = make_model(gpt2_config())
    for layer in model.transformer.h:
        layer.mlp.c_fc.weight.data *= 1e4
        layer.mlp.c_proj.weight.data *= 1e3
    return model


def test_a_float16_checkpoint_that_overflows_runs_in_float32_and_says_so(tmp_path: Path) -> None:
    too_large_for_float16().half().save_pretrained(tmp_path)
    said = rf"^{tmp_path} runs in float32, not in the float16 of its checkpoint: there .* gives NaN or infinite logits"
    with pytest.warns(UserWarning, match=said):
        subject = ew.load(tmp_path)
    assert subject.identity["dtype"] == "float32"
    scores = ew.attribute(subject, pairs())
    assert scores.provenance["dtype"] == "float32"
    with pytest.raises(NumericalError, match="load the model in another dtype"):
        ew.load(tmp_path, dtype="float16")
    with pytest.raises(NumericalError, match="load the model in another dtype"):
        ew.load(too_large_for_float16().half())


def test_a_float16_model_that_edgewise_walks_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Native logits that are finite do not make the walk's so."""
    nothing = lambda subject, tokens, *_: torch.full((len(tokens), VOCAB), torch.nan)  # noqa: E731
    monkeypatch.setattr("edgewise.engine.self_check.masked_forward", nothing)
    with pytest.raises(UnsupportedModel, match=r"misses its own logits .* too narrow for it: load it in float32"):
        ew.load(make_model(gpt2_config(), dtype=torch.float16))
    with pytest.raises(UnsupportedModel, match=r"misses its own logits .* does not know"):
        ew.load(make_model(gpt2_config()))


def test_nano_is_a_folder_like_any_other() -> None:
    folder = Path(ew.__file__).parent / "assets" / "nano"
    if not (folder / "model.safetensors").exists():
        pytest.skip("the embedded model has not been trained yet")
    a, b = ew.load("nano"), ew.load(folder)
    assert a.identity["weights"] == b.identity["weights"]
    assert a.tokenizer is not None


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_names_too(name: str) -> None:
    """Like a checkpoint: dtype and device are honoured, the tokenizer is the program's own unless another is given."""
    subject = ew.load(name)
    assert (subject.name, subject.dtype, subject.device.type) == (name, torch.float32, "cpu")
    assert subject.graph == PROGRAMS[name].graph
    assert not subject.model.training
    assert subject.tokenizer.get_vocab() == {word: i for i, word in enumerate(PROGRAMS[name].words)}
    assert subject.tokenizer(" ".join(PROGRAMS[name].words))["input_ids"] == list(range(len(PROGRAMS[name].words)))
    other, own = ew.load(name, dtype="bfloat16", device="cpu", tokenizer=(mine := object())), ew.load(name)
    assert (other.dtype, other.tokenizer) == (torch.bfloat16, mine)
    assert subject.identity == own.identity
    assert subject.identity["weights"] != other.identity["weights"]


def test_what_a_program_cannot_be_loaded_as() -> None:
    with pytest.raises(InvalidValue, match="reverse is built from its program and has no revisions"):
        ew.load("reverse", revision="main")
    with pytest.raises(UnknownName, match="unknown dtype 'float8'"):
        ew.load("reverse", dtype="float8")
    with pytest.raises(InvalidValue, match="device 'nowhere': Expected one of cpu"):
        ew.load("reverse", device="nowhere")
    with pytest.raises(UnknownName, match="unknown model 'revers'; did you mean 'reverse'"):
        ew.load("revers")


@pytest.mark.parametrize(
    ("there", "name", "chosen"),
    [
        ("meta", "gpt2", "meta"),
        ("meta", "nano", "cpu"),
        ("meta", "reverse", "cpu"),
        ("mps", "gpt2", "cpu"),
        (None, "gpt2", "cpu"),
    ],
)
def test_the_best_device_is_an_accelerator_that_knows_float64(
    there: str | None, name: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is made up here; the small models that come with edgewise stay on the CPU."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(there or "cpu"))
    assert loading._device(None, name) == torch.device(chosen)
    assert loading._device("cpu", name) == torch.device("cpu")


def test_a_model_that_reads_both_ways_refuses_padding() -> None:
    """It would read it; with whole prompts it can be asked anywhere."""
    model = make_model(toy_config(causal=False))
    padded, whole = pairs(), replace(pairs(), after="prompt")
    subject = ew.load(model)
    for verb in (
        lambda of: ew.attribute(subject, of),
        lambda of: ew.attribute(subject, of, ablation="position-mean"),
        lambda of: ew.evaluate(subject, ew.Circuit.full(subject.graph), of),
        lambda of: ew.discover(subject, of, method="acdc", tau=1e9),
    ):
        with pytest.raises(PairsError, match="ToyTransformer reads in both directions"):
            verb(padded)
        verb(whole)
    last = replace(padded, positions=torch.full_like(padded.positions, padded.clean.shape[1] - 1))
    ew.attribute(subject, last)


def test_an_unknown_model_is_named_and_the_nearest_offered() -> None:
    with pytest.raises(UnknownName, match="unknown model 'nanoo'; did you mean 'nano'"):
        ew.load("nanoo")
    with pytest.raises(UnknownName, match="a local folder, a GGUF file, or a hub id"):
        ew.load("someone/has-no-such-model")


def test_an_unknown_dtype() -> None:
    with pytest.raises(UnknownName, match="unknown dtype 'float23'; did you mean 'float32'"):
        ew.load("nano", dtype="float23")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="cannot be loaded as a model"):
        ew.load(tmp_path)


@pytest.mark.parametrize("damage", ["no weights", "truncated weights", "config is not JSON"])
def test_a_damaged_folder(tmp_path: Path, damage: str) -> None:
    make_model(gpt2_config()).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(UnsupportedModel, match="cannot be loaded as a model"):
        ew.load(tmp_path)


def test_weights_that_do_not_fit_the_config(tmp_path: Path) -> None:
    """Missing or misshapen weights must not be filled with random numbers in silence."""
    make_model(gpt2_config()).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "n_layer": 4}), encoding="utf-8")
    with pytest.raises(UnsupportedModel):
        ew.load(tmp_path)


def test_options_of_names_are_refused_for_models() -> None:
    with pytest.raises(InvalidValue, match="for models loaded by name"):
        ew.load(make_model(gpt2_config()), dtype="float32")


# -- what is not supported --------------------------------------------------------------------------------------------


def strangers() -> dict[str, Any]:
    from transformers import BertConfig, BertForMaskedLM, BloomConfig, BloomForCausalLM, XGLMConfig, XGLMForCausalLM

    small = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    return {
        "XGLMForCausalLM": XGLMForCausalLM(
            XGLMConfig(vocab_size=VOCAB, d_model=16, num_layers=1, attention_heads=2, ffn_dim=16, **ends)
        ),
        "BloomForCausalLM": BloomForCausalLM(
            BloomConfig(vocab_size=VOCAB, hidden_size=16, n_layer=1, n_head=2, **ends)
        ),
        "BertForMaskedLM": BertForMaskedLM(BertConfig(**small, intermediate_size=16, pad_token_id=0)),
    }


@pytest.mark.parametrize("name", ["XGLMForCausalLM", "BloomForCausalLM", "BertForMaskedLM"])
def test_other_architectures_are_refused_with_the_list(tmp_path: Path, name: str) -> None:
    model = strangers()[name]
    model.save_pretrained(tmp_path)
    for source in (model, tmp_path):
        with pytest.raises(UnsupportedModel, match=f"{name} is not supported; supported: GPT2LMHeadModel, ") as caught:
            ew.load(source)
        for family in KNOWN.values():
            assert family.architectures[0] in str(caught.value)


def test_a_module_that_is_no_language_model() -> None:
    with pytest.raises(UnsupportedModel, match="Linear is not supported"):
        ew.load(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention=True"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before=False"),
        ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm=True"),
        ("opt", {"word_embed_proj_dim": 16}, "word_embed_proj_dim=16"),
        ("gemma2", {"attention_bias": True}, "attention_bias=True"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        ("gemma3", {"attention_bias": True}, "attention_bias=True"),
        ("olmo2", {"attention_bias": True}, "attention_bias=True"),
        ("olmo3", {"attention_bias": True}, "attention_bias=True"),
    ],
)
def test_config_attributes_that_are_not_handled(family: str, changes: dict[str, Any], message: str) -> None:
    model = make_model(CONFIGS[family]())
    for name, value in changes.items():
        setattr(model.config, name, value)
    with pytest.raises(UnsupportedModel, match=f"{type(model).__name__} with {message} is not supported"):
        ew.load(model)


class Quantised(nn.Linear):
    """Stands for a linear layer of a library nobody knows, which does something else than its weight says."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x.round())


def _replace_projection(model: Any) -> None:
    old = model.model.layers[1].self_attn.k_proj
    model.model.layers[1].self_attn.k_proj = Quantised(old.in_features, old.out_features, bias=False)


def _replace_output(model: Any) -> None:
    old = model.model.layers[1].self_attn.o_proj
    model.model.layers[1].self_attn.o_proj = Quantised(old.in_features, old.out_features, bias=False)


@pytest.mark.parametrize("change", [_replace_projection, _replace_output])
def test_layers_that_are_not_plain_are_refused(change: Any) -> None:
    model = make_model(CONFIGS["llama"]())
    change(model)
    with pytest.raises(UnsupportedModel, match=r"Quantised \(.*\) in layer 1 gives something else than its weight"):
        ew.load(model)


def test_eighth_precision_and_unloaded_weights_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"float8_e5m2 are not supported; load the model as float32, bfloat16"):
        ew.load(make_model(gpt2_config(), dtype=torch.float8_e5m2))
    with pytest.raises(UnsupportedModel, match="weights are spread over meta"):
        ew.load(make_model(gpt2_config()).to("meta"))


# -- the self-check ---------------------------------------------------------------------------------------------------


def tampered(family: str, layer: int, change: Any) -> Any:
    """A model one of whose blocks does something more than its parts."""
    model = make_model(CONFIGS[family]())
    block = model.get_submodule(KNOWN[_known(family)].blocks)[layer]
    native = block.forward
    block.forward = lambda *args, **kwargs: change(native(*args, **kwargs))
    return model


def _known(family: str) -> str:
    renamed = {"neox-parallel": "gpt-neox", "neox-serial": "gpt-neox"}
    return renamed.get(family, family if family in KNOWN else family.split("-")[0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_block_that_adds_something_is_refused_by_its_layer(family: str, layer: int) -> None:
    model = tampered(family, layer, lambda out: (out[0] + 0.5, *out[1:]) if isinstance(out, tuple) else out + 0.5)
    with pytest.raises(UnsupportedModel, match=rf"does not pass the self-check: .* after layer {layer}"):
        ew.load(model)


def test_a_scale_on_the_logits_is_refused() -> None:
    model = make_model(CONFIGS["llama"]())
    native = model.lm_head.forward
    model.lm_head.forward = lambda x: native(x)
    model.model.norm.register_forward_hook(lambda module, args, output: None)
    ew.load(model)  # harmless wrappers are fine
    forward = model.forward

    def scaled(**kwargs: Any) -> Any:
        out = forward(**kwargs)
        out.logits = out.logits * 1.1
        return out

    model.forward = scaled
    with pytest.raises(UnsupportedModel, match="misses its own logits by"):
        ew.load(model)


def test_attention_that_looks_elsewhere_is_refused() -> None:
    """A head that reads the residual stream behind the projections' backs: the writers sum up, walking does not."""
    model = make_model(CONFIGS["gpt2"]())
    attention = model.transformer.h[1].attn
    native = attention.forward

    def peeking(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        attention.c_proj.register_forward_pre_hook(lambda m, a: (a[0] + hidden_states.mean(),))
        try:
            return native(hidden_states, *args, **kwargs)
        finally:
            attention.c_proj._forward_pre_hooks.popitem()

    attention.forward = peeking
    with pytest.raises(UnsupportedModel, match="does not pass the self-check"):
        ew.load(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_self_check_passes(family: str) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        ew.load(make_model(CONFIGS[family](), dtype=dtype))


def test_weights_that_are_no_numbers() -> None:
    model = make_model(gpt2_config())
    model.transformer.h[1].mlp.c_fc.weight.data[0, 0] = torch.nan
    with pytest.raises(NumericalError, match="NaN or infinite logits"):
        ew.load(model)


# -- prompts ----------------------------------------------------------------------------------------------------------


def test_token_ids_of_another_vocabulary() -> None:
    subject = ew.load(make_model(gpt2_config()))
    of = ew.Pairs.from_tokens(torch.tensor([[1, VOCAB]]), torch.tensor([[1, 2]]), correct=[1], wrong=[2])
    for call in (ew.attribute, lambda s, p: ew.evaluate(s, ew.Circuit.full(s.graph), p)):
        with pytest.raises(InvalidValue, match="token id 50 is outside the vocabulary of 50"):
            call(subject, of)


def test_answers_of_another_vocabulary() -> None:
    subject = ew.load(make_model(gpt2_config()))
    of = ew.Pairs.from_tokens(torch.tensor([[1, 2]]), torch.tensor([[1, 3]]), correct=[VOCAB], wrong=[2])
    for method in ("eap", "exact"):
        with pytest.raises((InvalidValue, PairsError), match="50"):
            ew.attribute(subject, of, method=method)


def test_prompts_longer_than_the_model_takes() -> None:
    subject = ew.load(make_model(gpt2_config()))
    clean = torch.zeros((1, 33), dtype=torch.long)
    of = ew.Pairs.from_tokens(clean, clean + 1, correct=[1], wrong=[2])
    with pytest.raises(InvalidValue, match="prompts have 33 tokens, but GPT2LMHeadModel takes at most 32"):
        ew.attribute(subject, of)


def test_a_missing_tokenizer_is_named_when_text_comes() -> None:
    subject = ew.load(make_model(gpt2_config()))
    with pytest.raises(PairsError, match="without a tokenizer"):
        ew.Pairs.from_prompts(subject.tokenizer, ["a"], ["b"], [["c"]], [["d"]])


def test_the_self_check_leaves_no_context_that_could_go_stale() -> None:
    """The same Subject after its model moved to another dtype: contexts are captured anew."""
    model = make_model(CONFIGS["mistral"]())
    subject = ew.load(model)
    model.double()
    self_check(subject)
    assert ew.attribute(subject, pairs()).values.isfinite().all()
