"""GGUF files: the same logits as the model they were written from, and a sentence for what cannot be read exactly."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file
from support.command_line import edgewise, refused
from support.families import CONFIGS, make_model, pairs
from support.gguf_files import write_gguf

import edgewise as ew
from edgewise.errors import FileError, InvalidValue, UnsupportedModel
from edgewise.loading import cache, gguf

# What every architecture gives: test_gguf_architectures.py.
ARCHITECTURES = ("llama", "gpt2", "gemma2")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from transformers.utils import logging

    logging.disable_progress_bar()
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    logging.enable_progress_bar()


def native(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out = model(input_ids=pairs().clean).logits
    return out[torch.arange(len(pairs())), pairs().positions]


def logits(subject: Any) -> torch.Tensor:
    return subject.logits(pairs().clean, pairs().positions)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_file_gives_the_logits_of_the_model_it_was_written_from(tmp_path: Path, architecture: str) -> None:
    """Also what transformers leaves out: caps and the width of heads differ from the defaults in these models."""
    model = make_model(CONFIGS[architecture]())
    path = write_gguf(tmp_path / "tiny.gguf", model, architecture, tokenizer=architecture != "gemma2")
    first, second = ew.load(path, device="cpu"), ew.load(path, device="cpu")
    torch.testing.assert_close(logits(first), native(model), rtol=1e-5, atol=1e-6)
    assert torch.equal(logits(first), logits(second))
    assert first.identity == second.identity
    assert first.identity["gguf"] == "tiny.gguf"
    assert first.identity["gguf_sha256"] == cache.entries()[0].folder.name
    assert first.identity["architecture"] == type(model).__name__


def test_the_tokenizer_comes_with_it(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama")
    for _ in range(2):
        tokenizer = ew.load(path, device="cpu").tokenizer
        ids = tokenizer("the and a")["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == ["the", "Ġand", "Ġ", "a"]
        assert tokenizer.eos_token_id == 0


def test_blocks_are_dequantised_exactly_and_halves_kept_as_halves(tmp_path: Path, own_cache: Path) -> None:
    model = make_model(CONFIGS["llama"]())
    kinds = {"Q4_1": torch.float32, "Q8_0": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    for kind, stored in kinds.items():
        path = write_gguf(tmp_path / f"{kind}.gguf", model, "llama", kind=GGMLQuantizationType[kind])
        subject = ew.load(path, device="cpu")
        off = (logits(subject) - native(model)).abs().max()
        assert 0 < off < (2.0 if kind == "Q4_1" else 0.3)
        assert subject.dtype == torch.float32
        (entry,) = cache.entries(path.name)
        kept = load_file(entry.folder / "model.safetensors")
        assert kept["model.layers.0.mlp.up_proj.weight"].dtype == stored
        assert kept["model.norm.weight"].dtype == torch.float32
        for name, tensor in kept.items():
            assert torch.equal(tensor.float(), subject.model.state_dict()[name]), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_another_dtype_may_be_asked_for(tmp_path: Path, dtype: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama")
    assert ew.load(path, dtype=dtype, device="cpu").identity["dtype"] == dtype


# -- which file -------------------------------------------------------------------------------------------------------


def test_a_folder_with_one_file_is_that_file(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = write_gguf(folder / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama")
    assert ew.load(folder, device="cpu").identity["gguf"] == "tiny.gguf"
    shutil.copy(path, folder / "other.gguf")
    with pytest.raises(InvalidValue, match=r"holds 2 GGUF files: name one \(.*other\.gguf, .*tiny\.gguf\)"):
        ew.load(folder)
    make_model(CONFIGS["gpt2"]()).save_pretrained(folder)
    assert ew.load(folder, device="cpu").identity["architecture"] == "GPT2LMHeadModel"


def test_a_file_that_is_not_there_and_one_with_a_revision(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.gguf: no such file"):
        ew.load(tmp_path / "none.gguf")
    path = write_gguf(tmp_path / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama")
    with pytest.raises(InvalidValue, match="is a file and has no revisions"):
        ew.load(path, revision="main")


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"rope__scaling__type": "yarn"},
            "llama.rope.scaling.type is 'yarn', and the conversion of GGUF files leaves it out",
        ),
        ({"expert_count": 8}, "llama.expert_count is 8"),
        ({"attention__sliding_window": 3}, "llama.attention.sliding_window is 3"),
        ({"rope__dimension_count": 4}, "lacks|cannot be loaded|rope.dimension_count"),
        ({"attention__head_count_kv": [2, 2, 1]}, "cannot be loaded|a list of 3"),
        ({"block_count": 4}, "lacks 9 of the weights of its model"),
        ({"block_count": 2}, "holds .* numbers and its LlamaForCausalLM has room for"),
    ],
)
def test_what_the_conversion_would_get_wrong_is_refused(
    tmp_path: Path, own_cache: Path, entries: dict[str, Any], message: str
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama", **entries)
    with pytest.raises(UnsupportedModel, match=message):
        ew.load(path)
    assert not cache.entries()
    assert not [path for path in own_cache.rglob("*") if path.is_dir() and path.name != cache.FORMAT]


def test_entries_that_change_nothing_are_no_reason_to_refuse(tmp_path: Path) -> None:
    idle = {
        "rope__scaling__type": "none",
        "expert_count": 0,
        "attention__sliding_window": 32,
        "attention__key_length": 8,
    }
    model = make_model(CONFIGS["llama"]())
    path = write_gguf(tmp_path / "tiny.gguf", model, "llama", **idle)
    torch.testing.assert_close(logits(ew.load(path, device="cpu")), native(model), rtol=1e-5, atol=1e-6)


def test_linear_scaling_of_positions_is_taken_over(tmp_path: Path) -> None:
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    model = make_model(type(CONFIGS["llama"]())(**{**CONFIGS["llama"]().to_dict(), "rope_parameters": rope}))
    scaling = {"rope__scaling__type": "linear", "rope__scaling__factor": 4.0}
    path = write_gguf(tmp_path / "tiny.gguf", model, "llama", **scaling)
    torch.testing.assert_close(logits(ew.load(path, device="cpu")), native(model), rtol=1e-5, atol=1e-6)


def test_a_part_of_a_split_file_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny-00001-of-00003.gguf", make_model(CONFIGS["llama"]()), "llama", parts=3)
    with pytest.raises(UnsupportedModel, match="is a part of a model split over 3 files; join them first"):
        ew.load(path)


def test_an_architecture_that_is_not_supported_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama")
    data = path.read_bytes()
    for other, message in (
        ("mamba", "MambaForCausalLM is not supported; supported: "),
        ("arwkv", "arwkv is not supported"),
    ):
        renamed = data.replace(b"llama", other.encode())
        path.write_bytes(renamed)
        with pytest.raises(UnsupportedModel, match=message):
            ew.load(path)


def test_the_command_line_refuses_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_gguf(tmp_path / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama")
    path.write_bytes(path.read_bytes()[:-100])
    refused(edgewise("discover", "--model", path), message="tiny.gguf is a damaged or truncated GGUF file")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.gguf"]


def test_packages_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama")
    monkeypatch.setattr(gguf, "NEEDED", ("no_such_package",))
    with pytest.raises(
        FileError, match=r'needs the packages no_such_package to be read: pip install "edgewise\[gguf\]"'
    ):
        ew.load(path)


def test_a_tokenizer_that_cannot_be_converted_is_said(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama")
    path.write_bytes(path.read_bytes().replace(b"an d", b"zz d"))
    with pytest.warns(UserWarning, match=r"the tokenizer in .*tiny\.gguf cannot be converted \(.*\): token ids work"):
        assert ew.load(path, device="cpu").tokenizer is None
