"""GGUF files of every architecture that transformers reads and edgewise knows; the others are refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from support.families import (
    CONFIGS,
    corrupted_run,
    distance,
    gemma3_config,
    llama_config,
    make_model,
    mistral_config,
    pairs,
    phi3_config,
    qwen3_moe_config,
    stablelm_config,
    starcoder2_config,
)
from support.gguf_files import write_gguf
from torch import Tensor

import edgewise as ew
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.errors import UnsupportedModel
from edgewise.models import FAMILIES, Subject

# What the file calls the architecture, and a config. Windows that no entry tells of are left out, as of StarCoder2.
FILES: dict[str, tuple[str, Callable[[], Any]]] = {
    "gpt2": ("gpt2", CONFIGS["gpt2"]),
    "llama": ("llama", CONFIGS["llama"]),
    "mistral": ("llama", lambda: mistral_config(sliding_window=None)),
    "qwen2": ("qwen2", CONFIGS["qwen2"]),
    "qwen3": ("qwen3", CONFIGS["qwen3"]),
    "qwen3_moe": ("qwen3moe", lambda: qwen3_moe_config(mlp_only_layers=[], norm_topk_prob=True)),
    "gemma2": ("gemma2", CONFIGS["gemma2"]),
    # The sixth layer is the first without a window; files do not say how many layers have one.
    "gemma3": (
        "gemma3",
        lambda: gemma3_config(num_hidden_layers=7, sliding_window_pattern=6, query_pre_attn_scalar=16),
    ),
    "phi3": ("phi3", CONFIGS["phi3"]),
    "stablelm": ("stablelm", lambda: stablelm_config(use_qkv_bias=True)),
    "stablelm parallel": ("stablelm", lambda: stablelm_config(use_parallel_residual=True, partial_rotary_factor=0.25)),
    "starcoder2": ("starcoder2", lambda: starcoder2_config(sliding_window=None)),
}
# Those of edgewise's families that have a name in GGUF files, and that transformers does not read from one.
UNREAD = ("gemma", "granite", "olmo2", "smollm3", "gptneox", "gptj", "phi2", "opt")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from transformers.utils import logging

    logging.disable_progress_bar()
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    yield
    logging.enable_progress_bar()


def native(model: Any, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        out = model(input_ids=tokens).logits
    return out[torch.arange(len(pairs())), pairs().positions]


def assert_same(on: Subject, model: Any) -> None:
    """The model's own logits; and walking gives those, or with no edge kept those of the other prompts."""
    clean, corrupted = (native(model, tokens) for tokens in (pairs().clean, pairs().corrupted))
    torch.testing.assert_close(on.logits(pairs().clean, pairs().positions), clean, rtol=1e-5, atol=1e-6)
    for mask, expected in ((on.graph.edge_mask.float(), clean), (torch.zeros(on.graph.edge_mask.shape), corrupted)):
        dense = Mask(mask, candidates=on.graph.edge_mask)
        walked = masked_forward(on, pairs().clean, pairs().positions, dense, corrupted_run(on, pairs()))
        assert distance(walked, expected) < 1e-4


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_every_architecture_is_walked_like_the_model_it_was_written_from(tmp_path: Path, kind: str) -> None:
    architecture, config = FILES[kind]
    model = make_model(config())
    path = write_gguf(tmp_path / "tiny.gguf", model, architecture, tokenizer=not kind.startswith("gemma"))
    assert_same(ew.load(path, device="cpu"), model)


def test_no_architecture_that_both_know_is_left_out() -> None:
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    known = {name for family in FAMILIES.values() for name in family.architectures}
    read = [name for name in GGUF_CONFIG_MAPPING if name in CONFIG_MAPPING]
    classes = {name: MODEL_FOR_CAUSAL_LM_MAPPING.get(CONFIG_MAPPING[name], None) for name in read}
    both = {name for name, kind in classes.items() if getattr(kind, "__name__", "") in known}
    assert both == {kind for kind in FILES if " " not in kind}


def test_a_file_that_is_called_mistral_is_a_llama_without_a_window(tmp_path: Path) -> None:
    model = make_model(mistral_config(sliding_window=None))
    path = write_gguf(tmp_path / "tiny.gguf", model, "llama", tokenizer=False, name="mistral")
    on = ew.load(path, device="cpu")
    assert on.identity["architecture"] == "LlamaForCausalLM"
    assert_same(on, model)


# -- factors of rotary angles -----------------------------------------------------------------------------------------


LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SHORT, LONG = [1.0, 1.5], [2.0, 8.0]
PHI_LONG = {"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
# The larger the context has become, the larger the scores: sqrt(1 + log(32 / 16) / log(16)).
GROWN = math.sqrt(1.25)


def test_the_angles_of_llama_3_lie_in_a_tensor_of_factors(tmp_path: Path) -> None:
    rope = {**LLAMA3, "original_max_position_embeddings": 32}
    model: Any = make_model(llama_config(rope_parameters=rope))
    usual: Any = make_model(llama_config())
    factors = (usual.model.rotary_emb.inv_freq / model.model.rotary_emb.inv_freq).tolist()
    assert factors[-1] == pytest.approx(8)
    assert factors[0] < 8
    path = write_gguf(tmp_path / "tiny.gguf", model, "llama", factors={"rope_freqs": factors})
    on = ew.load(path, device="cpu")
    assert_same(on, model)
    assert on.longest_prompt == 32
    assert distance(native(usual, pairs().clean), native(model, pairs().clean)) > 1e-3


def long_phi3(path: Path, **entries: Any) -> Any:
    rope = {**PHI_LONG, "short_factor": SHORT, "long_factor": LONG}
    model = make_model(phi3_config(rope_parameters=rope, original_max_position_embeddings=16))
    factors = {"rope_factors_short": SHORT, "rope_factors_long": LONG}
    said = {"rope__scaling__original_context_length": 16, "rope__scaling__attn_factor": GROWN}
    write_gguf(path, model, "phi3", factors=factors, **{**said, **entries})
    return model


def test_phi3_with_a_long_context_has_two_of_them(tmp_path: Path) -> None:
    model = long_phi3(tmp_path / "tiny.gguf")
    on = ew.load(tmp_path / "tiny.gguf", device="cpu")
    assert_same(on, model)
    assert on.longest_prompt == 16


def test_factors_that_no_config_can_say_are_refused(tmp_path: Path) -> None:
    long_phi3(tmp_path / "tiny.gguf", rope__scaling__type="yarn")
    with pytest.raises(
        UnsupportedModel, match=r"rope_factors_short.weight and .* with rope.scaling.type 'yarn' is not read"
    ):
        ew.load(tmp_path / "tiny.gguf")
    path = write_gguf(
        tmp_path / "half.gguf", make_model(CONFIGS["phi3"]()), "phi3", factors={"rope_factors_long": LONG}
    )
    with pytest.raises(UnsupportedModel, match=r"rope_factors_long.weight with rope.scaling.type 'none' is not read"):
        ew.load(path)
    path = write_gguf(tmp_path / "gpt2.gguf", make_model(CONFIGS["gpt2"]()), "gpt2", factors={"rope_freqs": SHORT})
    with pytest.raises(UnsupportedModel, match=r"gpt2 has no rotary angles, and the file has rope_freqs.weight"):
        ew.load(path)


# -- what is refused --------------------------------------------------------------------------------------------------


def empty_file(path: Path, architecture: str) -> Path:
    """As much of a file as tells its architecture."""
    writer = GGUFWriter(path, architecture)
    for key, size in {
        "block_count": 1,
        "embedding_length": 32,
        "attention.head_count": 4,
        "context_length": 32,
    }.items():
        writer.add_uint32(f"{architecture}.{key}", size)
    writer.add_tensor("token_embd.weight", np.zeros((50, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("architecture", UNREAD)
def test_an_architecture_that_transformers_does_not_read_is_refused_by_name(tmp_path: Path, architecture: str) -> None:
    path = empty_file(tmp_path / "tiny.gguf", architecture)
    expected = (
        rf"tiny\.gguf cannot be loaded as a model: GGUF model with architecture {architecture} is not supported yet\.$"
    )
    with pytest.raises(UnsupportedModel, match=expected):
        ew.load(path)


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("falcon", "FalconForCausalLM"),
        ("bloom", "BloomForCausalLM"),
        ("nemotron", "NemotronForCausalLM"),
        ("qwen2moe", "Qwen2MoeForCausalLM"),
        ("gpt-oss", "GptOssForCausalLM"),
    ],
)
def test_an_architecture_that_edgewise_does_not_know_is_refused_by_name(
    tmp_path: Path, architecture: str, name: str
) -> None:
    with pytest.raises(UnsupportedModel, match=f"{name} is not supported; supported: "):
        ew.load(empty_file(tmp_path / "tiny.gguf", architecture))


def test_norms_of_single_heads_that_transformers_leaves_out_are_missed(tmp_path: Path) -> None:
    model = make_model(CONFIGS["stablelm-parallel"]())
    path = write_gguf(tmp_path / "tiny.gguf", model, "stablelm", tokenizer=False)
    with pytest.raises(
        UnsupportedModel, match=r"tiny\.gguf holds [\d,]+ numbers and its StableLmForCausalLM has room for"
    ):
        ew.load(path)


def test_a_pattern_of_windows_is_not_guessed(tmp_path: Path) -> None:
    path = write_gguf(
        tmp_path / "tiny.gguf",
        make_model(gemma3_config()),
        "gemma3",
        tokenizer=False,
        attention__sliding_window_pattern=3,
    )
    with pytest.raises(UnsupportedModel, match=r"gemma3.attention.sliding_window_pattern is 3, and the conversion"):
        ew.load(path)
