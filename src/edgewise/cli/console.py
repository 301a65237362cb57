"""What the command line prints: tables, progress bars, complaints. Rich text to people, JSON to machines."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edgewise.cli.together import silenced
from edgewise.display import clean, is_hostile
from edgewise.errors import EdgewiseError
from edgewise.progress import Track, shown, silent

if TYPE_CHECKING:
    from edgewise.comparison.from_recipe import Finished

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
# What is told in one line; a message has its own bound.
LONGEST_LINE = 2000


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """The command with its failures as one message on stderr: exit code 2 for a mistake, 130 for Ctrl-C."""

    @functools.wraps(command)
    def guard(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except EdgewiseError as error:
            say(f"error: {error}")
            raise typer.Exit(2) from None
        except BrokenPipeError:  # nobody reads any more
            raise
        except OSError as error:
            say(f"error: {EdgewiseError(refusal(error))}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt as interrupt:
            say(f"interrupted; {str(interrupt) or 'nothing was written'}")
            raise typer.Exit(130) from None

    return guard


@final
class PlainConsole(Console):
    """A console on which text from files is text: it can neither command the terminal nor turn the direction of writing."""

    def render_str(self, text: str, **how: Any) -> Text:  # type: ignore[override]
        """The text of rich, without control characters but for ends of lines."""
        return super().render_str("".join(c if c == "\n" else clean(c, 1) for c in text), **how)


def stdout() -> Console:
    """The console for results."""
    return PlainConsole(highlight=False, soft_wrap=True, quiet=silenced())


def say(sentence: str) -> None:
    """One line of plain text on stderr."""
    typer.echo(clean(sentence, LONGEST_LINE, cut="middle"), err=True)


def quoted(value: object) -> str:
    """A value as one line of text in which nothing is markup."""
    return escape(clean(value, LONGEST_LINE, cut="middle"))


def refusal(error: OSError) -> str:
    """What the operating system refused, and where, if it says that."""
    from edgewise.store.disk import reason

    place = error.filename if error.filename is not None else "a file or the output"
    return f"{os.fsdecode(place) if isinstance(place, bytes) else place} cannot be read or written: {reason(error)}"


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
    console.print(f"[bold]{quoted(recipe.prompts)}[/] in [bold]{quoted(recipe.model)}[/], {examples} pairs\n")
    for entry in tables(found.comparison):
        table = Table(
            title=entry.title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
        )
        for number, column in enumerate(entry.header):
            table.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in entry.rows:
            table.add_row(*(quoted(cell) for cell in row))
        console.print(table)
        console.print(f"[dim]{quoted(entry.note)}[/]\n")
    console.print(f"time      {found.seconds:.1f} s")
    if found.folder is not None:
        console.print(f"files     {quoted(str(found.folder))}/: {quoted(', '.join(found.files))}")


def print_table(title: str, rows: list[dict[str, str]]) -> None:
    """A table with one row for each mapping."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in rows[0] if rows else ():
        # A name stays whole, to be copied; what is said about it gives way.
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "option", "folder"))
    for row in rows:
        table.add_row(*(quoted(value) for value in row.values()))
    stdout().print(table)
    stdout().print()


def print_details(found: dict[str, Any], rows: list[dict[str, str]]) -> None:
    """What a method or a task is, and its options as a table."""
    kind, *facts = [name for name in found if name != "options" and found[name]]
    for fact in (kind, *facts):
        stdout().print(f"{fact:9} {quoted(str(found[fact]))}")
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

    # In JSON a character may be written by its number: the value stays, and a terminal obeys nothing in it.
    text = re.sub("[^\x00-\x7e]", lambda c: json.dumps(c[0])[1:-1] if is_hostile(c[0]) else c[0], dump(value))
    sys.stdout.buffer.write(encode(text))


def print_cache(folder: Path, rows: list[dict[str, Any]], what: str) -> None:
    """The entries of a cache, or those that were removed from it, and how large they are together."""
    shown = ("name", "source", "created")
    cells = [{"size": _megabytes(row["bytes"]), **{key: str(row.get(key, "–")) for key in shown}} for row in rows]
    if cells:
        print_table(os.fspath(folder), cells)
    total = _megabytes(sum(row["bytes"] for row in rows))
    stdout().print(f"{what:9} {len(rows)} converted model{'' if len(rows) == 1 else 's'}, {total}, of {quoted(folder)}")


def print_path(path: Path, as_json: bool) -> None:
    """Where a file was written."""
    if as_json:
        print_json({"file": os.fspath(path)})
    else:
        typer.echo(clean(path, LONGEST_LINE, cut="middle"))


def is_watched() -> bool:
    """Whether the output goes to a terminal that a person reads."""
    return sys.stdout.isatty()


def open_page(path: Path) -> None:
    """Opens a page in the person's browser; says so if there is none."""
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        say("no browser could be opened; open the file yourself")


def cells(row: dict[str, Any]) -> dict[str, str]:
    """The numbers of one line of a sweep, as text."""
    numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
    return {key: f"{value:,}" if isinstance(value, int) else shown_number(value) for key, value in numbers.items()}


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def shown_number(value: float | None, form: str = ".4g") -> str:
    """A number for people, a dash where there is none."""
    return "–" if value is None or value != value else f"{value:{form}}"
