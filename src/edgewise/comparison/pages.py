"""A comparison's folder as pages: one for each method, and one with all tables that leads to them."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from edgewise.comparison.compare_recipe import Entry
from edgewise.comparison.table import Table
from edgewise.display import clean
from edgewise.errors import FileError, InvalidValue
from edgewise.formats.reading import FOUND_FILE, METHODS_FOLDER, TABLE_FILE, beside, find, picture_path
from edgewise.formats.run_documents import PartDocument
from edgewise.store.disk import accessible, write_bytes
from edgewise.store.manifest import read_document
from edgewise.store.opening import read_bytes, understood
from edgewise.store.schema import encode
from edgewise.store.targets import refuse_link
from edgewise.viewer import show
from edgewise.viewer.bundle import web_file

INDEX_FILE = "comparison.html"
# The plots on the page, of those that a comparison leaves.
PLOTS = {"roc.svg": "recovery: ROC curves", "faithfulness.svg": "faithfulness over the number of edges"}
MOST_OF_A_TEXT = 1 << 26
CELL_BORDER = re.compile(r"(?<!\\)\|")


def show_file(
    file: Path, out: Path | None, *, scores: Path | None = None, exact: Path | None = None, compare: Path | None = None
) -> Path:
    """Writes the page or the picture of a file or a run, beside what other files hold, or the pages of a comparison.

    Returns the path of what was written. InvalidValue if other files are named beside a comparison.
    """
    with accessible(file):
        compared = (file / METHODS_FOLDER).is_dir()
    if not compared:
        finding = beside(find(file), scores=scores, exact=exact, compare=None)
        # Which pictures can show two, `show` says.
        second = find(compare) if compare is not None else None
        return show(finding, out if out is not None else picture_path(file), compare=second)
    if any((scores, exact, compare)):
        raise InvalidValue(
            f"{file} is a comparison and is shown with all its methods; leave out --scores, --exact and --compare, "
            "or name the folder of one method"
        )
    return show_comparison(file, out)


def show_comparison(folder: Path, path: Path | None = None) -> Path:
    """Writes a page for each finished method into its folder, and one that leads to them; returns the path of that one.

    It goes to `path`, or to `comparison.html` in the folder. InvalidValue if `path` is no page, FileError if no method is
    finished.
    """
    index = path if path is not None else folder / INDEX_FILE
    with accessible(folder):
        names = {path.parent: _name(path) for path in sorted((folder / METHODS_FOLDER).glob(f"*/{FOUND_FILE}"))}
    if index.suffix.lower() != ".html":
        methods = ", ".join(method.name for method in names)
        raise InvalidValue(
            f"a comparison is shown as pages only; name a .html file, or the folder of one method ({methods})"
        )
    if not names:
        raise FileError(f"{folder} is a comparison in which no method has finished yet")
    for place in (folder / METHODS_FOLDER, *names):
        refuse_link(place)
    pages = {names[method]: show(find(method), picture_path(method)) for method in names}
    return write_bytes(index, encode(index_page(folder, _links(pages, index.parent))))


def index_page(folder: Path, links: Mapping[str, str]) -> str:
    """The page with the tables of a comparison, in which names of methods are links."""
    table = folder / TABLE_FILE
    content = read_bytes(table, most=MOST_OF_A_TEXT).decode("utf-8", "replace") if table.is_file() else ""
    content = "\n".join(clean(line, max(1, len(line))) for line in content.split("\n"))
    title, facts = _heading(content, folder)
    linked = ", ".join(_linked(name, links) for name in links)
    parts = {
        "title": escape(title),
        "facts": escape(facts),
        "methods": linked,
        "hint": escape(f"edgewise show {folder}/{METHODS_FOLDER}/A --compare {folder}/{METHODS_FOLDER}/B"),
        "plots": "".join(_plot(folder / name, text) for name, text in PLOTS.items() if (folder / name).is_file()),
        "tables": "".join(_table(table, links) for table in tables_in(content)),
    }
    return re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], web_file("comparison.html"))


def tables_in(markdown: str) -> Iterator[Table]:
    r"""The tables of a text that `Table.markdown` wrote.

    >>> next(tables_in(Table("Cost", ("method", "by"), (("eap", "|score|"),), "In seconds.").markdown()))
    Table(title='Cost', header=('method', 'by'), rows=(('eap', '|score|'),), note='In seconds.')
    """
    for part in re.split(r"^### ", markdown, flags=re.MULTILINE)[1:]:
        title, *lines = part.strip().splitlines() or [""]
        header, *rows = [_cells(line) for line in lines if line.startswith("| ")] or [()]
        rows = rows[1:]  # behind the header stands a line
        if not header or any(len(row) != len(header) for row in rows):
            raise FileError(
                f"{TABLE_FILE}: the table {title[:60]!r} is damaged: a row has more or fewer cells than others"
            )
        note = " ".join(line for line in lines if line and not line.startswith("| "))
        yield Table(title, header, tuple(rows), note)


# -- parts ------------------------------------------------------------------------------------------------------------


def _name(found: Path) -> str:
    """What a method is called in the tables."""
    with understood(str(found)):
        return clean(Entry.of(**read_document(PartDocument, found).entry).name, 90)


def _links(pages: Mapping[str, Path], start: Path) -> dict[str, str]:
    return {name: quote(os.path.relpath(page, start).replace(os.sep, "/")) for name, page in pages.items()}


def _heading(content: str, folder: Path) -> tuple[str, str]:
    """What the text of the tables begins with; of a comparison without tables, how to go on with it."""
    if not content:
        again = f"edgewise compare --recipe {folder}/recipe.json --out {folder}"
        return (
            f"comparison in {folder.name}",
            f"This comparison is not finished, so it has no tables yet. To continue: {again}",
        )
    title, _, rest = content.partition("\n")
    return title.removeprefix("# "), rest.partition("###")[0].replace("`", "").strip()


def _plot(path: Path, text: str) -> str:
    data = base64.b64encode(read_bytes(path, most=MOST_OF_A_TEXT)).decode()
    return f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{data}">'


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in CELL_BORDER.split(line)[1:-1])


def _table(table: Table, links: Mapping[str, str]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.header)
    rows = (
        f'<tr><th scope="row">{_linked(name, links)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in table.rows
    )
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    return f"<details open><summary>{escape(table.title)}</summary><div>{body}</div>{note}</details>"


def _linked(name: str, links: Mapping[str, str]) -> str:
    return f'<a href="{escape(links[name])}">{escape(name)}</a>' if name in links else escape(name)
