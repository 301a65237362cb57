"""A comparison as pages: every table, a link to the page of each method, and nothing that could run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.command_line import edgewise, make_model, refused

from edgewise.comparison import CompareRecipe
from edgewise.comparison.from_recipe import run_comparison
from edgewise.comparison.pages import index_page, show_comparison, tables_in
from edgewise.comparison.table import Table
from edgewise.formats.reading import find
from edgewise.viewer import page

HOSTILE = '<img src=x onerror="window.hacked=1">'


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    methods = [{"method": "eap", "label": "eap | mine"}, {"method": "acdc", "values": [0.1]}, "exact"]
    model = make_model(folder / "tiny")
    fields = {"model": str(model), "examples": 4, "methods": methods, "edges": [10, "20%"], "pictures": ["svg"]}
    run_comparison(CompareRecipe.of(**fields), folder / "run")
    return folder / "run"


@pytest.fixture
def folder(compared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compared, tmp_path / "run"))


class Read(HTMLParser):
    """The tags of a page and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def links(self) -> list[str]:
        return [str(attributes["href"]) for tag, attributes in self.tags if tag == "a"]


def test_the_page_leads_to_one_of_each_method(folder: Path) -> None:
    path = show_comparison(folder)
    assert path == folder / "comparison.html"
    read = Read(path.read_text())
    files = {folder / unquote(link) for link in read.links}
    names = {"eap---mine", "acdc", "exact", "random"}
    assert files == {folder / "methods" / name / "circuit.html" for name in names}
    for file in files:
        assert file.read_text() == page(find(file.parent))


def test_the_page_has_every_table_and_the_plots(folder: Path) -> None:
    read = Read(show_comparison(folder).read_text())
    tables = list(tables_in((folder / "table.md").read_text()))
    assert len(tables) >= 6
    assert [tag for tag, _ in read.tags].count("table") == len(tables)
    for table in tables:
        for text in (table.title, *table.header, *(cell for row in table.rows for cell in row)):
            assert text in read.text
    assert {row[0] for row in tables[0].rows} == {"eap | mine", "acdc", "exact", "random"}
    images = [str(attributes["src"]) for tag, attributes in read.tags if tag == "img"]
    assert len(images) == 2
    assert all(image.startswith("data:image/svg+xml;base64,") for image in images)


def test_tables_come_back_from_markdown() -> None:
    known = (Table("a | b", ("x", "y"), (("1", "|2|"), ("", "4")), "A note."), Table("c", ("x",), ()))
    assert tuple(tables_in("# head\n\ntext\n\n" + "\n".join(table.markdown() for table in known))) == known


def test_the_page_may_stand_elsewhere(folder: Path, tmp_path: Path) -> None:
    path = show_comparison(folder, tmp_path / "all.html")
    assert all((tmp_path / unquote(link)).is_file() for link in Read(path.read_text()).links)


def test_nothing_on_the_page_can_run(folder: Path) -> None:
    (folder / "table.md").write_text((folder / "table.md").read_text().replace("exact", HOSTILE))
    for found in (folder / "methods").glob("*/found.json"):
        value = json.loads(found.read_text())
        value["entry"]["label"] = HOSTILE
        found.write_text(json.dumps(value))
    text = index_page(folder, {HOSTILE: 'methods/"><script>', "acdc": "methods/acdc/circuit.html"})
    tags = Read(text).tags
    assert not {tag for tag, _ in tags} & {"script", "iframe", "link"}
    assert [attributes for tag, attributes in tags if tag == "img" and "alt" not in attributes] == []
    assert not any(key.startswith("on") for _, attributes in tags for key in attributes)
    assert "default-src 'none'" in text


def test_an_unfinished_comparison_shows_what_there_is(folder: Path) -> None:
    (folder / "table.md").unlink()
    shutil.rmtree(folder / "methods" / "acdc")
    read = Read(show_comparison(folder).read_text())
    assert len(set(read.links)) == 3
    assert any("To continue: edgewise compare --recipe" in text for text in read.text)


def test_show_opens_a_comparison(folder: Path) -> None:
    result = edgewise("show", folder, "--json")
    assert json.loads(result.stdout) == {"file": str(folder / "comparison.html")}, result.stderr
    again = edgewise("compare", "--recipe", folder / "recipe.json", "--out", folder, "--quiet")
    assert again.exit_code == 0, again.stderr  # the pages are in nobody's way


def test_show_says_what_a_comparison_cannot_be(folder: Path, tmp_path: Path) -> None:
    refused(
        edgewise("show", folder, "-o", tmp_path / "a.svg"), message="name a .html file, or the folder of one method"
    )
    refused(
        edgewise("show", folder, "--compare", folder / "methods" / "acdc"), message="leave out --scores, --exact and"
    )
    (tmp_path / "empty" / "methods").mkdir(parents=True)
    refused(edgewise("show", tmp_path / "empty"), message="no method has finished yet")
