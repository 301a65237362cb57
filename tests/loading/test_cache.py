"""The cache of converted models: whole entries or none, made once, shown and emptied, and not needed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.command_line import edgewise, refused
from support.families import CONFIGS, make_model
from support.gguf_files import write_gguf

import edgewise as ew
from edgewise.errors import FileError
from edgewise.loading import cache
from edgewise.progress import silent

KEY, OTHER = "a" * 64, "b" * 64
FACTS = {"file": "model.gguf", "source": "/somewhere/model.gguf"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path) -> None:
    (folder / "weights").write_bytes(b"whole")


def never() -> cache.Writer:
    raise AssertionError("converted again")


def make(key: str = KEY, **facts: str) -> Path:
    with cache.converted(key, {**FACTS, **facts}, lambda: write, silent) as folder:
        assert (folder / "weights").read_bytes() == b"whole"
        return folder


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("EDGEWISE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache.cache_folder() == Path("/xdg/edgewise")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache.cache_folder() == Path("/home/somebody/.cache/edgewise")


def test_what_was_converted_is_not_converted_again(own_cache: Path) -> None:
    folder = make()
    with cache.converted(KEY, FACTS, never, silent) as again:
        assert again == folder == own_cache / cache.FORMAT / KEY
    (entry,) = cache.entries()
    assert (entry.name, entry.facts["sha256"]) == ("model.gguf", KEY)


def test_what_is_not_whole_is_made_anew(own_cache: Path) -> None:
    """A file cut short, one that is gone, and a folder that a killed process had taken."""
    for damage in (lambda f: (f / "weights").write_bytes(b"who"), lambda f: (f / "weights").unlink(), _emptied):
        damage(make())
        assert cache.find(KEY) is None
        make()
        assert cache.find(KEY) is not None


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def test_a_conversion_that_fails_leaves_nothing(own_cache: Path) -> None:
    def fails(folder: Path) -> None:
        write(folder)
        raise KeyboardInterrupt

    for make_it in (lambda: fails, never):
        with pytest.raises((KeyboardInterrupt, AssertionError)), cache.converted(KEY, FACTS, make_it, silent):
            pass
    assert [path.name for path in (own_cache / cache.FORMAT).iterdir()] == [f"{KEY}.lock"]


CONVERT = """
import sys, time
from pathlib import Path
from edgewise.loading import cache
from edgewise.progress import silent
def write(folder):
    (folder / "weights").write_bytes(b"whole")
    print("writing", flush=True)
    time.sleep(float(sys.argv[1]))
def make():
    print("making", flush=True)
    return write
with cache.converted("a" * 64, {"file": "model.gguf"}, make, silent) as folder:
    print(folder, flush=True)
"""


def elsewhere(seconds: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", CONVERT, str(seconds)], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_a_killed_conversion_counts_for_nothing_and_its_remains_go(own_cache: Path) -> None:
    with elsewhere(60) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["making\n", "writing\n"]
        process.send_signal(signal.SIGKILL)
    assert len(list((own_cache / cache.FORMAT).glob(".*.tmp"))) == 1
    assert cache.find(KEY) is None
    assert [entry.name for entry in cache.entries()] == ["unfinished", "unfinished"]
    make()
    assert sorted(path.name for path in (own_cache / cache.FORMAT).iterdir()) == [KEY, f"{KEY}.lock"]


def test_two_processes_convert_once_and_the_second_waits(own_cache: Path) -> None:
    labels: list[str] = []

    def track(steps: Any, total: int, label: str, detail: Any = None) -> Any:
        labels.append(label)
        return steps

    with elsewhere(2) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["making\n", "writing\n"]
        assert cache.clear() == []  # what somebody is at is left to them
        with cache.converted(KEY, FACTS, never, track) as folder:
            assert (folder / "weights").exists()
    assert labels == ["waiting for another process that converts it"]


def test_threads_convert_once() -> None:
    made: list[int] = []

    def slowly() -> cache.Writer:
        made.append(1)
        time.sleep(0.3)
        return write

    def run() -> None:
        with cache.converted(KEY, FACTS, slowly, silent):
            pass

    threads = [Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


# -- no disk ----------------------------------------------------------------------------------------------------------


def test_without_a_cache_the_model_is_used_all_the_same(own_cache: Path) -> None:
    own_cache.write_bytes(b"a file where the folder should be")
    with pytest.warns(
        UserWarning, match=r"model\.gguf cannot be kept in the cache \(.*\) and is converted again each time"
    ):
        folder = make()
    assert not folder.exists()
    assert own_cache.is_file()


def test_a_full_disk_is_said_and_nothing_is_left(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        (folder / "weights").write_bytes(b"wh")
        raise cache.unwritable(OSError(28, "No space left on device"))

    before = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("edgewise-*"))
    with (
        pytest.warns(UserWarning, match="cannot be kept in the cache"),
        pytest.raises(FileError, match=r"no space left on device.*EDGEWISE_CACHE"),
        cache.converted(KEY, FACTS, lambda: full, silent),
    ):
        pass
    assert [path.name for path in (own_cache / cache.FORMAT).iterdir()] == [f"{KEY}.lock"]
    assert set(Path(os.environ.get("TMPDIR", "/tmp")).glob("edgewise-*")) == before


# -- the command ------------------------------------------------------------------------------------------------------


def test_it_is_shown_and_emptied(own_cache: Path) -> None:
    for key, name in ((KEY, "one.gguf"), (OTHER, "two.gguf")):
        make(key, file=name)
    (own_cache / "mine.txt").write_text("not yours")
    (own_cache / cache.FORMAT / "notes").mkdir()
    shown = edgewise("cache").stdout
    assert all(word in shown for word in ("one.gguf", "two.gguf", "in all    2 converted models", str(own_cache)))
    found = json.loads(edgewise("cache", "--json").stdout)
    assert [entry["name"] for entry in found["entries"]] == ["one.gguf", "two.gguf"]
    assert found["entries"][0]["bytes"] > 5
    refused(edgewise("cache", "three.gguf", "--clear"), message="unknown cache entry 'three.gguf'")
    assert "removed   1 converted model," in edgewise("cache", "--clear", "one.gguf").stdout
    assert [entry["name"] for entry in json.loads(edgewise("cache", OTHER[:8], "--json").stdout)["entries"]] == [
        "two.gguf"
    ]
    assert [entry["name"] for entry in json.loads(edgewise("cache", "--clear", "--json").stdout)["removed"]] == [
        "two.gguf"
    ]
    assert (own_cache / "mine.txt").exists()
    assert (own_cache / cache.FORMAT / "notes").exists()
    assert "in all    0 converted models" in edgewise("cache").stdout


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    from edgewise.loading import gguf

    read: list[int] = []
    original = gguf._model
    monkeypatch.setattr(gguf, "_model", lambda *args: (read.append(1), original(*args))[1])
    return lambda: len(read)


def test_a_file_is_converted_again_when_its_content_changes(tmp_path: Path, counted: Callable[[], int]) -> None:
    path = tmp_path / "tiny.gguf"
    identities = []
    for seed in (0, 0, 1):
        write_gguf(path, make_model(CONFIGS["llama"](), seed=seed), "llama")
        identities.append(ew.load(path, device="cpu").identity)
    assert counted() == 2
    assert identities[0] == identities[1]
    assert identities[0]["weights"] != identities[2]["weights"]
