"""What the command line prints: tables, progress bars, complaints. Rich text to people, JSON to machines."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgewise.cli.together import silenced
from edgewise.errors import EdgewiseError
from edgewise.progress import Track, shown, silent

if TYPE_CHECKING:
    from edgewise.comparison.from_recipe import Finished

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """The command with its failures as one message on stderr: exit code 2 for a mistake, 130 for Ctrl-C."""

    @functools.wraps(command)
    def guard(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except EdgewiseError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as interrupt:
            typer.echo(f"interrupted; {str(interrupt) or 'nothing was written'}", err=True)
            raise typer.Exit(130) from None

    return guard


def stdout() -> Console:
    """The console for results."""
    return Console(highlight=False, soft_wrap=True, quiet=silenced())


def stderr() -> Console:
    """The console for progress and complaints."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Track]:
    """A Track that draws bars on stderr while the block runs; silent if `quiet` or if nobody is watching."""
    if quiet or silenced():
        yield silent
        return
    with shown() as track:
        yield track


def print_comparison(found: Finished) -> None:
    """The tables of a comparison, and where the files are."""
    from edgewise.comparison.tables import tables

    recipe, console = found.recipe, stdout()
    examples = found.comparison.facts["data"]["examples"]
    console.print(f"[bold]{escape(recipe.prompts)}[/] in [bold]{escape(recipe.model)}[/], {examples} pairs\n")
    for entry in tables(found.comparison):
        table = Table(
            title=entry.title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
        )
        for number, column in enumerate(entry.header):
            table.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in entry.rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
        console.print(f"[dim]{escape(entry.note)}[/]\n")
    console.print(f"time      {found.seconds:.1f} s")
    if found.folder is not None:
        console.print(f"files     {escape(str(found.folder))}/: {', '.join(found.files)}")


def print_table(title: str, rows: list[dict[str, str]]) -> None:
    """A table with one row for each mapping."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in rows[0] if rows else ():
        # A name stays whole, to be copied; what is said about it gives way.
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "option", "folder"))
    for row in rows:
        table.add_row(*(escape(value) for value in row.values()))
    stdout().print(table)
    stdout().print()


def print_details(found: dict[str, Any], rows: list[dict[str, str]]) -> None:
    """What a method or a task is, and its options as a table."""
    kind, *facts = [name for name in found if name != "options" and found[name]]
    for fact in (kind, *facts):
        stdout().print(f"{fact:9} {escape(str(found[fact]))}")
    stdout().print()
    if rows:
        print_table("options", rows)
    else:
        stdout().print(f"this {kind} has no options")


def compared(found: Finished) -> dict[str, Any]:
    """A comparison as plain values, and where its files are."""
    folder = os.fspath(found.folder) if found.folder is not None else None
    return {**found.comparison.to_dict(), "folder": folder, "files": list(found.files), "seconds": found.seconds}


def print_json(value: dict[str, Any]) -> None:
    """One JSON document."""
    from edgewise.store.schema import dump, encode

    sys.stdout.buffer.write(encode(dump(value)))


def print_cache(folder: Path, rows: list[dict[str, Any]], what: str) -> None:
    """The entries of a cache, or those that were removed from it, and how large they are together."""
    shown = ("name", "source", "created")
    cells = [{"size": _megabytes(row["bytes"]), **{key: str(row.get(key, "–")) for key in shown}} for row in rows]
    if cells:
        print_table(os.fspath(folder), cells)
    total = _megabytes(sum(row["bytes"] for row in rows))
    stdout().print(
        f"{what:9} {len(rows)} converted model{'' if len(rows) == 1 else 's'}, {total}, of {folder}", markup=False
    )


def print_path(path: Path, as_json: bool) -> None:
    """Where a file was written."""
    if as_json:
        print_json({"file": os.fspath(path)})
    else:
        typer.echo(os.fspath(path))


def is_watched() -> bool:
    """Whether the output goes to a terminal that a person reads."""
    return sys.stdout.isatty()


def open_page(path: Path) -> None:
    """Opens a page in the person's browser; says so if there is none."""
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        typer.echo("no browser could be opened; open the file yourself", err=True)


def cells(row: dict[str, Any]) -> dict[str, str]:
    """The numbers of one line of a sweep, as text."""
    numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
    return {key: f"{value:,}" if isinstance(value, int) else shown_number(value) for key, value in numbers.items()}


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def shown_number(value: float | None, form: str = ".4g") -> str:
    """A number for people, a dash where there is none."""
    return "–" if value is None or value != value else f"{value:{form}}"
