"""A folder that may not be searched, read or written is said in one sentence by every verb that takes a path."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import edgewise
from support.families import pairs, subject

import edgewise as ew
from edgewise.circuit import Circuit
from edgewise.comparison import compare_heads
from edgewise.comparison.compare_recipe import CompareRecipe
from edgewise.comparison.from_recipe import run_comparison
from edgewise.comparison.pages import show_file
from edgewise.data import read_rows
from edgewise.errors import FileError
from edgewise.formats.reading import find, import_finding
from edgewise.graph import Graph
from edgewise.pruning.history import History, read_history
from edgewise.runs.from_file import check
from edgewise.runs.many import run_many
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run
from edgewise.search.trace import Trace

GRAPH = Graph(1, 2, 2)
ASKED = ("stat", "lstat", "listdir", "scandir", "open", "mkdir", "replace", "rename")
RECIPE = Recipe.of(examples=2, method="eap")
COMPARED = CompareRecipe.of(methods=["eap"], reference="none", pictures=[], edges=[20])
VERBS: dict[str, Callable[[Path], object]] = {
    "open": lambda path: ew.open(path / "a.json"),
    "save": lambda path: ew.save(Circuit.full(GRAPH), path / "a.json"),
    "show": lambda path: ew.show(Circuit.full(GRAPH), path / "a.html"),
    "find a file": lambda path: find(path / "a.json"),
    "find a folder": find,
    "import": lambda path: import_finding(path / "a.pt"),
    "show a folder": lambda path: show_file(path, None),
    "recipe": lambda path: Recipe.read(path / "recipe.json"),
    "run": lambda path: run(RECIPE, path / "run"),
    "compare": lambda path: run_comparison(COMPARED, path / "c"),
    "compare again": lambda path: run_comparison(COMPARED, path),
    "many": lambda path: run_many([RECIPE], path),
    "check": lambda path: check(path, {}),
    "heads": lambda path: compare_heads([path, path]),
    "trace": lambda path: Trace.open(str(path / "t.jsonl"), {}),
    "history": lambda path: History.open(path / "h.jsonl"),
    "read a history": lambda path: read_history(path / "h.jsonl"),
    "pairs": lambda path: read_rows(path / "a.csv"),
    "pairs of no suffix": lambda path: read_rows(path / "a"),
    "checkpoint": lambda path: ew.attribute(
        subject("gpt2"), pairs(), method="exact", checkpoint=str(path / "a.safetensors")
    ),
}
COMMANDS = [
    ["discover", "--examples", "2", "--out", "{}/run"],
    ["discover", "--recipe", "{}/recipe.json"],
    ["discover", "--data", "{}/a.csv"],
    ["discover", "--model", "{}/model"],
    ["evaluate", "{}"],
    ["evaluate", "{}/circuit.json"],
    ["compare", "--methods", "eap", "--out", "{}/c"],
    ["show", "{}"],
    ["show", "{}/a.json", "-o", "a.svg"],
    ["convert", "{}", "--to", "csv"],
    ["convert", "{}/a.json", "--to", "mib"],
    ["heads", "{}", "{}"],
    ["batch", "--method", "eap", "--out", "{}"],
    ["new", "method", "mine", "--out", "{}/mine"],
]


@pytest.fixture
def denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which nothing may be looked at: as for a user who is not root, without the right to search it."""
    folder = tmp_path / "denied"
    folder.mkdir()

    def refusing(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(place: Any = ".", *arguments: Any, **options: Any) -> Any:
            if isinstance(place, str | os.PathLike) and Path(os.path.abspath(place)).is_relative_to(folder):
                raise PermissionError(13, "Permission denied", os.fspath(place))
            return ask(place, *arguments, **options)

        return asked

    with monkeypatch.context() as patch:
        for name in ASKED:
            patch.setattr(os, name, refusing(getattr(os, name)))
        for module in (builtins, io):
            patch.setattr(module, "open", refusing(module.open))
        yield folder


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_that_it_may_not(denied: Path, verb: str) -> None:
    with pytest.raises(FileError) as refusal:
        VERBS[verb](denied)
    assert str(denied) in str(refusal.value)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_that_it_may_not(denied: Path, here: Path, command: list[str]) -> None:
    result = edgewise(*(part.format(denied) for part in command))
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not os.listdir(here)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"
