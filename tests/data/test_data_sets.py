"""Data sets of the hub, from a cache made here and from folders: no network is needed, and none is tried."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.benchmark_rows import CHOICE, IOI, SUM

from edgewise.data.data_sets import DataSet
from edgewise.data.pair_files import read_rows
from edgewise.errors import FileError, InvalidValue, UnknownName

COMMIT = "5024626" + "0" * 33
CARD = """---
configs:
- config_name: 2_answer_choices
  data_files:
  - split: train
    path: 2_answer_choices/train-*
- config_name: 4_answer_choices
  data_files:
  - split: train
    path: 4_answer_choices/train-*
  - split: test
    path:
    - 4_answer_choices/test-*
---
# Choices
"""


def lines(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def cached(root: Path, name: str, files: dict[str, str]) -> Path:
    """A data set as huggingface_hub keeps it after a download."""
    folder = root / ("datasets--" + name.replace("/", "--"))
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for path, text in files.items():
        target = folder / "snapshots" / COMMIT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_split_of_a_data_set_without_a_card_is_found_by_the_names_of_its_files(hub: Path) -> None:
    cached(hub, "mib-bench/ioi", {"data/train-0.jsonl": lines(IOI, IOI), "data/test-0.jsonl": lines(IOI), "x.bin": ""})
    assert len(read_rows("mib-bench/ioi")) == 2
    (row,) = read_rows("mib-bench/ioi:test")
    assert (row.clean, row.correct, row.wrong, row.published) == (IOI["prompt"], (" Jane",), (" Chris",), True)
    assert len(read_rows(f"mib-bench/ioi@{COMMIT}:test")) == 1


def test_a_card_says_which_configurations_and_splits_there_are(hub: Path) -> None:
    parts = {f"{n}_answer_choices/{split}-0.jsonl": lines(CHOICE) for n in (2, 4) for split in ("train", "test")}
    cached(hub, "mib-bench/copycolors_mcqa", {"README.md": CARD, **parts})
    name = "mib-bench/copycolors_mcqa"
    assert read_rows(f"{name}/4_answer_choices:test")[0].correct == (" A",)
    with pytest.raises(InvalidValue, match=r"several configurations.*name one, as in .*/2_answer_choices"):
        read_rows(name)
    with pytest.raises(UnknownName, match="unknown split of mib-bench/copycolors_mcqa 'tests'; did you mean 'test'"):
        read_rows(f"{name}/4_answer_choices:tests")
    with pytest.raises(UnknownName, match=r"configuration of .* '3_answer_choices'"):
        read_rows(f"{name}/3_answer_choices")


@pytest.mark.parametrize("files", ['"train.json"', "[train.json]"])
def test_a_card_may_list_files_without_splits(hub: Path, files: str) -> None:
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {files}\n---\n"
    cached(hub, "mib-bench/arithmetic_addition", {"README.md": card, "train.json": json.dumps([SUM, SUM])})
    assert [row.correct for row in read_rows("mib-bench/arithmetic_addition")] == [("42",), ("42",)]


def test_without_cache_and_network_one_sentence_says_so() -> None:
    with pytest.raises(
        FileError, match="mib-bench/ioi is neither a local file nor on a Hugging Face hub that can be"
    ) as e:
        read_rows("mib-bench/ioi")
    assert "\n" not in str(e.value)


def test_a_folder_is_read_like_the_hub(tmp_path: Path) -> None:
    (tmp_path / "ioi").mkdir()
    (tmp_path / "ioi" / "validation.csv").write_text("clean,corrupted,correct\na b,a c, d\n")
    assert read_rows(f"{tmp_path / 'ioi'}:validation")[0].correct == (" d",)
    with pytest.raises(FileError, match="no files of the split 'train' that edgewise can read"):
        read_rows(tmp_path / "ioi")


def test_a_damaged_card_is_named(hub: Path) -> None:
    cached(hub, "a/b", {"README.md": "---\nconfigs:\n- data_files: 3\n---\n", "train.jsonl": lines(IOI)})
    with pytest.raises(FileError, match=r"README\.md: the header of the data set's card cannot be read"):
        read_rows("a/b")


@pytest.mark.parametrize("text", ["rows.txt", "a b/c", "/nowhere/at/all/rows", "a/b/c/d"])
def test_what_has_another_form_is_no_data_set(text: str) -> None:
    assert DataSet.of(text) is None


# -- files ------------------------------------------------------------------------------------------------------------


def test_json_is_a_list_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"clean": "a b", "corrupted": "a c", "correct": [" d"]}, IOI]))
    assert [row.correct for row in read_rows(path)] == [(" d",), (" Jane",)]
    path.write_text(json.dumps({"clean": "a"}))
    with pytest.raises(FileError, match=r"a \.json file of pairs must be a list of objects"):
        read_rows(path)
    path.write_text('[{"clean": "a b"}]')
    with pytest.raises(FileError, match="row 1: the column 'corrupted' is missing"):
        read_rows(path)


def test_parquet_holds_the_same_rows(tmp_path: Path, hub: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for rows in ([IOI, {**IOI, "s2_io_flip_counterfactual": None}], [CHOICE], [SUM]):
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
        (tmp_path / "rows.jsonl").write_text(lines(*rows))
        assert read_rows(tmp_path / "rows.parquet") == read_rows(tmp_path / "rows.jsonl")
    snapshot = cached(hub, "mib-bench/ioi", {"README.md": ""}) / "snapshots" / COMMIT
    parquet.write_table(pyarrow.Table.from_pylist([IOI]), snapshot / "train-00000-of-00001.parquet")
    assert read_rows("mib-bench/ioi")[0].clean == IOI["prompt"]
    (tmp_path / "rows.parquet").write_text("no")
    with pytest.raises(FileError, match=r"rows\.parquet is not a parquet file"):
        read_rows(tmp_path / "rows.parquet")


def test_without_pyarrow_parquet_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(FileError, match=r"needs pyarrow; install it with: pip install 'edgewise\[data\]'"):
        read_rows(tmp_path / "rows.parquet")
