"""A page of the documentation as something that runs: its blocks of code, one after the other, in the current folder.

- ```python blocks share one namespace;
- in ```sh blocks, lines that begin with `edgewise` run through the command line, the others are for the reader;
- a block with a title, as ```json title="pairs.jsonl", is written to a file of that name;
- a ```text block after the line `<!-- prints -->` is what the last ```python block printed (alike.py);
- a block after a line such as `<!-- not run: needs two GPUs -->` is left out, and says why.
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

from support.alike import alike
from support.command_line import edgewise

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>prints|not run: .+?) -->\n+)?^```(?P<kind>\w*)(?: title=\"(?P<file>[^\"\n]+)\")?\n(?P<text>.*?)^```$",
    flags=re.S | re.M,
)


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
