"""Names that files choose are no paths, links are not written through, and only what nobody writes is a leftover."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

import edgewise as ew
from edgewise.circuit import Circuit
from edgewise.errors import FileError
from edgewise.formats.conversion import FOLDERS, write_folder
from edgewise.formats.run_documents import Beside
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.store.disk import held_folder, new_folder, open_log, write_bytes
from edgewise.store.targets import component, unused
from edgewise.viewer import show
from edgewise.viewer.finding import Finding

GRAPH = Graph(1, 2, 2)
# What a temporary file or folder of an earlier process is called.
LEFT = ".{}.0123abcd.tmp"
ODD_NAMES = ["run", "a b", "run[1]", "run*", "run?", "répertoire", "x" * 180, "ü" * 120, "-o", "run.tmp", "a\nb"]


@given(
    text=st.text()
    | st.sampled_from(["../../x", "/etc/passwd", "..", ".", "", "\0", "a/../b", "C:\\x", "~", "…/x" * 99])
)
def test_a_name_from_a_file_is_one_visible_part_of_a_path(text: str) -> None:
    name = component(text)
    assert name == os.path.basename(name)
    assert not name.startswith(".")
    assert 0 < len(os.fsencode(name)) <= 200
    assert "\0" not in name
    assert component(name) == name


@pytest.mark.parametrize("name", ["../scores.json", "/etc/passwd", "", ".", "..", "a/b", "a\\b", "\0"])
def test_a_document_names_only_files_beside_itself(name: str) -> None:
    with pytest.raises(ValidationError, match="String should match pattern"):
        TypeAdapter(Beside).validate_python(name)
    assert TypeAdapter(Beside).validate_python("circuit-00.json") == "circuit-00.json"


@pytest.mark.parametrize(
    "told",
    [{"task": "../../x", "model": "gpt2"}, {"task": "ioi", "model": "a/..\\..\\x"}, {"task": "/x", "model": "/"}],
)
def test_a_provenance_does_not_choose_where_a_submission_goes(tmp_path: Path, told: dict[str, str]) -> None:
    (tmp_path / "in").mkdir()
    finding = Finding.of(Scores(GRAPH, GRAPH.edge_mask.float(), told))
    path = write_folder(finding, FOLDERS["mib"], tmp_path / "in" / FOLDERS["mib"].folder(finding))
    assert path.resolve().parent == tmp_path / "in"
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: ew.save(Circuit.full(GRAPH), path.with_suffix(".json")),
        lambda path: show(Circuit.full(GRAPH), path.with_suffix(".html")),
        lambda path: write_bytes(path, b"x"),
        lambda path: open_log(path, "a"),
        lambda path: new_folder(path).__enter__(),
    ],
    ids=["save", "show", "bytes", "log", "folder"],
)
@pytest.mark.parametrize("leads_to", ["file", "folder", "nothing"])
def test_nothing_is_written_through_a_link(tmp_path: Path, write: Callable[[Path], object], leads_to: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    for suffix in ("", ".json", ".html"):
        (tmp_path / "out" / f"a{suffix}").symlink_to(tmp_path / leads_to)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileError, match="is a link, and nothing is written through links"):
        write(tmp_path / "out" / "a")
    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ODD_NAMES)
def test_leftovers_of_a_name_go_with_the_next_writing_of_it_and_no_others(tmp_path: Path, name: str) -> None:
    """A live folder of `run.b` was deleted for `run`: its temporary name begins alike."""
    others = [LEFT.format(other) for other in (f"{name[:20]}.b", f"{name[:20]}-", "other", f"-{name[:20]}")]
    others += [f".{name[:20]}.tmp", f".{name[:20]}.b.tmp", f"{name[:20]}.0123abcd.tmp"]
    for other in others:
        (tmp_path / other).mkdir()
    mine = tmp_path / LEFT.format(name) if len(os.fsencode(name)) <= 200 else None
    for write in (lambda path: write_bytes(path, b"x"), fill):
        if mine is not None:
            mine.mkdir()
            (mine / "half").write_text("x")
        write(tmp_path / name)
        assert set(os.listdir(tmp_path)) == {*others, name}
        (tmp_path / name).unlink() if (tmp_path / name).is_file() else None


def fill(path: Path) -> None:
    with new_folder(path) as folder:
        (folder / "a").write_text("x")


def test_what_a_living_process_writes_is_no_leftover(tmp_path: Path) -> None:
    with new_folder(tmp_path / "run") as folder:
        (tmp_path / "run").rmdir()  # as if its name were free
        write_bytes(tmp_path / "run", b"x")
        assert folder.is_dir()
        (tmp_path / "run").unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with held_folder(tmp_path / "run"):
        for take in (held_folder, new_folder):
            with pytest.raises(FileError, match="being written by another process"), take(tmp_path / "run"):
                pytest.fail("the block must not run")
        assert not unused(tmp_path / "run")
    assert unused(tmp_path / "run")
    fill(tmp_path / "run")
    assert not unused(tmp_path / "run")
