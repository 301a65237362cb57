"""What the README and the documentation say of the package is so: lists are complete, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edgewise as ew
from edgewise.ablations import ABLATIONS
from edgewise.data import read_rows
from edgewise.data.columns import KNOWN_COLUMNS
from edgewise.data.rows import READERS
from edgewise.methods import METHODS
from edgewise.metrics import METRICS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").split()) <= 900


LISTED = {
    "docs/models.md": [
        name for family in ew.FAMILIES.values() if family.name != "toy" for name in family.architectures
    ],
    "docs/guides/choosing.md": list(METHODS),
    "docs/concepts.md": [*METRICS, *ABLATIONS],
    "docs/data.md": [*KNOWN_COLUMNS, *READERS],
}


@pytest.mark.parametrize("page", LISTED)
def test_a_page_that_lists_members_lists_all(page: str) -> None:
    text = text_of(page)
    assert [name for name in LISTED[page] if f"`{name}`" not in text] == []


def test_the_readme_names_methods_that_there_are() -> None:
    table = text_of("README.md").partition("## Methods")[2].partition("## Models")[0]
    named = [name for line in table.splitlines() if line.startswith("|") for name in re.findall("`([^`]+)`", line)]
    assert named
    assert set(named) <= set(METHODS)


def test_the_file_to_copy_is_the_one_on_the_page() -> None:
    shown = re.search(r'```json title="pairs.jsonl"\n(.*?)```', text_of("docs/data.md"), flags=re.S)
    assert shown is not None
    assert shown[1] == text_of("examples/pairs.jsonl")
    assert len(read_rows(ROOT / "examples/pairs.jsonl")) == len(shown[1].splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_to_files(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_every_page_is_in_the_table_of_contents() -> None:
    index = text_of("docs/index.md")
    toc = {line for part in re.findall(r"```{toctree}\n(.*?)```", index, flags=re.S) for line in part.splitlines()}
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in sorted(DOCS.rglob("*.md"))} - {"index"}
    assert pages - toc == set()
