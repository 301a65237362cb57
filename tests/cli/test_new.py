"""`edgewise new`: what it writes works as it stands, and is a package that edgewise finds."""

from __future__ import annotations

import runpy
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from support.command_line import edgewise, refused

from edgewise import FAMILIES
from edgewise.tasks import Task

KINDS = ("method", "task", "family")


@pytest.fixture
def begun(request: pytest.FixtureRequest, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A new member of a kind, whose folder Python imports from."""
    folder = here / f"begun-{request.param}"
    result = edgewise("new", request.param, "of-mine", "--out", folder)
    assert result.exit_code == 0, result.output
    monkeypatch.syspath_prepend(str(folder))
    yield request.param, folder
    sys.modules.pop("of_mine", None)


@pytest.mark.parametrize("begun", KINDS, indirect=True)
def test_the_tests_that_are_written_pass(begun: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, folder = begun
    runpy.run_path(str(folder / "test_of_mine.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "holds" in printed
    assert "broken" not in printed


@pytest.mark.parametrize("begun", KINDS, indirect=True)
def test_the_package_offers_its_member_as_an_entry_point(begun: tuple[str, Path]) -> None:
    kind, folder = begun
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    ((group, entries),) = project["entry-points"].items()
    module, _, member = entries["of-mine"].partition(":")
    found = getattr(import_module(module), member)
    assert group == {"method": "edgewise.methods", "task": "edgewise.tasks", "family": "edgewise.families"}[kind]
    assert found.name == "of-mine"
    assert isinstance(found, {"task": Task, "family": type(FAMILIES["llama"]), "method": type}[kind])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("method", "My Method"),
            "'My Method' is no name to use: take small letters, digits and hyphens, such as my-method",
        ),
        (("task", "../outside"), "is no name to use"),
        (("task", "1st"), "is no name to use"),
        (("method", "class"), "'class' is a word of Python; take another name"),
        (("circuit", "mine"), "unknown kind 'circuit'"),
    ],
)
def test_what_cannot_be_begun_is_refused(here: Path, arguments: tuple[str, str], sentence: str) -> None:
    refused(edgewise("new", *arguments), message=sentence)
    assert not list(here.iterdir())


def test_a_folder_that_is_there_is_left_alone(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "kept").write_text("")
    refused(edgewise("new", "method", "mine"), message="already exists; name a new folder")
    assert [path.name for path in (here / "mine").iterdir()] == ["kept"]
