"""A run folder appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.failing_disk import Disk

from edgewise.errors import FileError
from edgewise.store.disk import new_folder, write_bytes


def fill(path: Path) -> None:
    with new_folder(path) as folder:
        write_bytes(folder / "a", b"x")


@pytest.mark.parametrize("name", ["run", "deep/er/run"])
def test_a_folder_and_its_parents_appear(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name)
    assert os.listdir(tmp_path / name) == ["a"]


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    fill(tmp_path / "run")
    assert os.listdir(tmp_path / "run") == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("name", ["run", "deep/er/run"])
def test_an_error_leaves_nothing(tmp_path: Path, error: type[BaseException], name: str) -> None:
    def fail() -> None:
        with new_folder(tmp_path / name) as folder:
            (folder / "a").write_text("x")
            raise error

    with pytest.raises(error):
        fail()
    assert not os.listdir(tmp_path)


def test_the_name_is_taken_while_the_work_goes_on(tmp_path: Path) -> None:
    with new_folder(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("run", "file"):
        with pytest.raises(FileError, match="already exists; name a new folder"), new_folder(tmp_path / name):
            pytest.fail("the block must not run")
    assert (tmp_path / "run" / "mine").read_text() == "x"


def test_a_parent_that_is_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="cannot be created"), new_folder(tmp_path / "file" / "run"):
        pytest.fail("the block must not run")


def test_a_parent_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(FileError, match="cannot be created: permission denied"), new_folder(tmp_path / "run"):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("write", [fill, lambda path: write_bytes(path, b"x")], ids=["folder", "file"])
def test_whatever_the_disk_refuses_is_said_and_leaves_nothing(tmp_path: Path, write: Callable[[Path], object]) -> None:
    """A sweep over all that is asked of the disk: it is full at the first thing, at the second and so on."""
    refused: list[str] = []
    for at in range(1, 99):
        (tmp_path / str(at)).mkdir()
        with Disk(tmp_path, at).in_place() as disk:
            try:
                write(tmp_path / str(at) / "a")
            except FileError as error:
                refused.append(str(error))
        if not disk.reached():
            break
        assert len(refused) == at
        assert not os.listdir(tmp_path / str(at))
    assert os.listdir(tmp_path / str(at)) == ["a"]
    assert len(refused) >= 3
    assert all("no space left on device" in message for message in refused)


@pytest.mark.parametrize(
    "name", ["x" * 300, "a\0b", f"{'x' * 200}/" * 30, "file/a"], ids=["long", "null", "deep", "in a file"]
)
@pytest.mark.parametrize("write", [fill, lambda path: write_bytes(path, b"x")], ids=["folder", "file"])
def test_a_name_that_cannot_be_is_said(tmp_path: Path, write: Callable[[Path], object], name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="cannot be"):
        write(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]
