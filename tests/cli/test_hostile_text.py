"""Text from files is text: whatever a field holds, a terminal gets one plain line of it, and pages no markup."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import edgewise
from typer.testing import Result

from edgewise.display import is_hostile
from edgewise.errors import EdgewiseError

# Colours, a title of the window, a C1 command, a bell, lines of its own, another direction, markup of rich and of HTML.
HOSTILE = "a\x1b[31m\x1b]0;x\x07\x9b2J\r\nerror: b\u2028\u202ec[red]<script>x</script>$\\frac$|" + "long " * 400
READ = ["circuit.json", "report.json", "curve.json"]
STRINGS = (
    "model",
    "task",
    "data_file",
    "method",
    "metric",
    "ablation",
    "faithfulness",
    "recipe",
    "prompts",
    "edges",
    "graph",
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every string and every key, of alike things the first."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key, None)
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        yield from places(value[0], (*path, 0)) if value else ()
    elif isinstance(value, str):
        yield path


def changed(value: Any, path: tuple[Any, ...]) -> Any:
    """The value with the string at a place, or the key if it ends in None, made hostile."""
    if not path:
        return HOSTILE
    first, *rest = path
    if rest == [None]:
        return {HOSTILE if key == first else key: inner for key, inner in value.items()}
    if isinstance(value, list):
        return [changed(inner, tuple(rest)) if number == first else inner for number, inner in enumerate(value)]
    return {key: changed(inner, tuple(rest)) if key == first else inner for key, inner in value.items()}


def check(result: Result, told: object) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), (told, result.exception)
    assert not [c for c in result.output if is_hostile(c) and c != "\n"], (told, result.output)
    assert result.exit_code in (0, 2), (told, result.output)
    if result.exit_code == 2:
        assert result.output.startswith("error: ")
        assert result.output.count("\n") == 1, (told, result.output)
        assert len(result.output) < 1100, (told, len(result.output))


def mutations(folder: Path, file: str, every: int) -> Iterator[tuple[Any, ...]]:
    """Every place of a file, or every so-and-so-many-th, after making it hostile there; the file is as before afterwards."""
    content = (folder / file).read_bytes()
    document = json.loads(content)
    for place in list(places(document))[::every]:
        (folder / file).write_text(json.dumps(changed(document, place)))
        yield place
    (folder / file).write_bytes(content)


@pytest.fixture
def copied(a_run: Path, here: Path) -> Path:
    return Path(shutil.copytree(a_run, here / "run"))


@pytest.mark.parametrize(
    "command",
    [
        ["show", "{}", "-o", "a.dot", "--json"],
        ["discover", "--recipe", "{}/recipe.json", "--out", "{}/again"],
        *(
            pytest.param(command, marks=pytest.mark.slow)
            for command in (
                ["show", "{}", "-o", "a.html"],
                ["show", "{}", "-o", "a.svg"],
                ["show", "{}", "-o", "a.png"],
                ["convert", "{}", "--to", "mib"],
                ["convert", "{}", "--to", "csv", "--force"],
                ["convert", "{}", "--to", "neuronpedia", "--json", "--force"],
                ["evaluate", "{}"],
                ["evaluate", "{}", "--json"],
                ["discover", "--recipe", "{}/manifest.json", "--out", "{}/again", "--json"],
                ["compare", "--recipe", "{}/recipe.json", "--out", "{}/again"],
                ["heads", "{}", "{}"],
            )
        ),
    ],
    ids=" ".join,
)
def test_every_field_is_text_to_every_command(copied: Path, command: list[str], request: pytest.FixtureRequest) -> None:
    every = 1 if request.node.get_closest_marker("slow") else 5
    told = " ".join(command)
    files = [name for name in ("recipe.json", "manifest.json") if name in told] or READ
    for file in files:
        for place in mutations(copied, file, every):
            check(edgewise(*(part.format(copied) for part in command)), (file, place))
            shutil.rmtree(copied / "again", ignore_errors=True)


@pytest.mark.parametrize("field", STRINGS)
def test_pages_and_pictures_hold_no_markup_of_a_file(copied: Path, field: str) -> None:
    circuit = json.loads((copied / "circuit.json").read_text())
    circuit["provenance"][field] = HOSTILE
    (copied / "circuit.json").write_text(json.dumps(circuit))
    (copied / "manifest.json").unlink()
    for suffix in ("svg", "html", "dot"):
        check(edgewise("show", copied, "-o", f"a.{suffix}"), field)
    assert not [e for e in ET.parse("a.svg").iter() if e.tag.endswith("script")]
    for suffix in ("svg", "html"):
        text = Path(f"a.{suffix}").read_text()
        assert "<script>x" not in text
        assert not [c for c in text if is_hostile(c) and c not in "\n"]


def test_a_label_of_several_lines_does_not_break_its_own_folder(model: Path, here: Path) -> None:
    methods = [{"method": "eap", "label": "a\nb | c\x1b[31m $\\frac$"}, {"method": "random", "label": "### d"}]
    told = {"model": str(model), "examples": 4, "held_out": 0, "reference": "none", "areas": "none", "edges": [20]}
    Path("recipe.json").write_text(json.dumps({**told, "methods": methods, "pictures": ["svg"]}))
    check(made := edgewise("compare", "--recipe", "recipe.json", "--out", "c"), "compare")
    assert made.exit_code == 0, made.output
    assert "a b | c" in made.output
    check(shown := edgewise("show", "c", "--no-open"), "show")
    assert shown.exit_code == 0, shown.output
    page = Path("c/comparison.html").read_text()
    assert page.count("<table>") == Path("c/table.md").read_text().count("\n### ") > 1
    assert re.search("<a href=[^>]*>a b | c", page)


def test_a_message_is_one_line_that_can_be_read() -> None:
    message = str(EdgewiseError("it begins, " + HOSTILE + " and the cure"))
    assert message.startswith("it begins, a")
    assert message.endswith("and the cure")
    assert len(message) <= 1000
    assert not [c for c in message if is_hostile(c)]
    assert str(EdgewiseError(message)) == message
    word = str(EdgewiseError(f"{'x' * 1500} is too long"))
    assert len(word) < 400
    assert word.endswith("x is too long")
