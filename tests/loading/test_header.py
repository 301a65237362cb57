"""The header of a GGUF file: whole ones are read, and whatever is wrong with one is said in a sentence, at once."""

from __future__ import annotations

import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import given
from hypothesis import strategies as st
from support.families import CONFIGS, make_model
from support.gguf_files import write_gguf

from edgewise.errors import FileError, UnsupportedModel
from edgewise.loading.header import BLOCKS, Array, read_header


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", make_model(CONFIGS["llama"]()), "llama")


def test_what_a_header_says(whole: Path) -> None:
    model, header = make_model(CONFIGS["llama"]()), read_header(whole)
    assert header.architecture == "llama"
    assert header.own["embedding_length"] == model.config.hidden_size
    assert header.metadata["tokenizer.ggml.tokens"] == Array(model.config.vocab_size)
    assert header.tensors["token_embd.weight"] == tuple(model.model.embed_tokens.weight.shape)
    assert header.weights == sum(parameter.numel() for parameter in model.parameters())


def test_the_sizes_of_blocks_are_those_of_the_format() -> None:
    assert {int(kind): size for kind, size in GGML_QUANT_SIZES.items()} == BLOCKS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a GGUF file: it is empty"),
        (b"PK\x03\x04 something else", "does not begin with GGUF"),
        (b"GGUF", "in the middle of its header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), "claims 1,152,921,504,606,846,976 tensors but has"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "entries of metadata but has"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62) + bytes(64), "characters of a text but has"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "does not name its architecture"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(FileError, match=message):
        read_header(path)


@pytest.mark.parametrize("version", [1, 4, 3 << 24])
def test_other_versions_are_refused(tmp_path: Path, whole: Path, version: int) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", version) + whole.read_bytes()[8:])
    with pytest.raises(UnsupportedModel, match=f"version {version}; edgewise reads versions 2 and 3"):
        read_header(path)


@given(st.floats(0, 0.999))
def test_every_truncated_file_is_refused(whole: Path, share: float) -> None:
    data = whole.read_bytes()
    path = whole.with_name("truncated.gguf")
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FileError, match=r"truncated|not a GGUF file"):
        read_header(path)


@given(st.data())
def test_a_damaged_header_is_read_or_refused_but_never_followed(whole: Path, data: st.DataObject) -> None:
    """Any bytes of it changed: nothing but our own errors, and no work that its numbers would make."""
    content = bytearray(whole.read_bytes())
    for place in data.draw(st.lists(st.integers(4, 3000), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    path = whole.with_name("damaged.gguf")
    path.write_bytes(content)
    begin = time.perf_counter()
    with suppress(FileError, UnsupportedModel):
        read_header(path)
    assert time.perf_counter() - begin < 5


def test_sizes_no_tensor_has_room_for_are_refused(tmp_path: Path) -> None:
    model = make_model(CONFIGS["llama"]())
    for key, value in (("block_count", 1 << 30), ("rope__dimension_count", 1 << 30), ("expert_count", 1 << 20)):
        path = write_gguf(tmp_path / "large.gguf", model, "llama", **{key: value})
        with pytest.raises(FileError, match=f"its {key.replace('__', '.')} is .*, more than its tensors have room for"):
            read_header(path)
