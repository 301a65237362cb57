"""Checkpoint: the file holds a whole state of one run, or what it held before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgewise.errors import FileError
from edgewise.store import checkpoint as module
from edgewise.store.checkpoint import Checkpoint


def full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_what_is_kept_is_read_again_by_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = tmp_path / "state", []
    state = {"sums": torch.rand(3, dtype=torch.float64), "done": torch.tensor(7)}
    one = Checkpoint(path, {"b": 1, "a": [2]})
    assert one.read() is None
    one.keep(lambda: asked.append(1) or state)
    assert not path.exists()  # written after a while, or on the way out, and made only then
    assert not asked
    with pytest.raises(KeyboardInterrupt), one.kept_on_the_way_out():
        raise KeyboardInterrupt
    again = Checkpoint(path, {"a": [2], "b": 1}).read()
    assert again is not None
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", -1.0)
    one.keep(lambda: {"done": torch.tensor(8)})
    assert int((one.read() or {})["done"]) == 8
    one.remove()
    assert not list(tmp_path.iterdir())
    one.remove()


def test_without_a_path_nothing_is_kept(tmp_path: Path) -> None:
    none = Checkpoint(None, {})
    none.keep(lambda: pytest.fail("the state was asked for"))
    none.save()
    assert none.read() is None
    none.remove()


def test_a_full_disk_is_one_sentence_and_leaves_the_last_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    one = Checkpoint(path, {})
    one.keep(lambda: {"done": torch.tensor(1)})
    one.save()
    before = path.read_bytes()
    one.keep(lambda: {"done": torch.tensor(2)})
    monkeypatch.setattr("edgewise.store.disk.os.fsync", full)
    with pytest.raises(FileError, match="state cannot be written: no space left on device"):
        one.save()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_of_another_run_or_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    one = Checkpoint(path, {"seed": 0})
    one.keep(lambda: {"done": torch.tensor(1)})
    one.save()
    with pytest.raises(FileError, match="checkpoint of another run"):
        Checkpoint(path, {"seed": 1}).read()
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FileError, match="is not a checkpoint of edgewise"):
        one.read()
    with pytest.raises(FileError, match="cannot be written: give a file in a folder"):
        Checkpoint(tmp_path / "missing" / "state", {}).read()
