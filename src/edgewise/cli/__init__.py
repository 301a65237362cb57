"""The command line: options → Recipe → run → print. The same words as the Python API.

Importing it loads neither torch nor transformers: commands import what they need, so that `--help` is quick.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from typing import Annotated, Any, NoReturn, TextIO, final

import typer
from typer.core import TyperGroup

import edgewise
from edgewise.cli import (
    batch_command,
    doctor_command,
    file_commands,
    heads_command,
    look_command,
    new_command,
    run_commands,
    select_command,
)
from edgewise.cli.console import LONGEST_LINE, refusal, say
from edgewise.cli.help_text import Command
from edgewise.display import clean
from edgewise.errors import EdgewiseWarning

_show = warnings.showwarning


@final
class Commands(TyperGroup):
    """Help under headings, and mistakes as the plain sentences that they are, without a box around them."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command; typer draws boxes around mistakes where the group has a markup."""
        self.rich_markup_mode = None
        return super().main(*args, **options)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, in the form of their own help."""
        self.rich_markup_mode = "markdown"
        super().format_help(ctx, formatter)


app = typer.Typer(
    name="edgewise",
    cls=Commands,
    help="Finds circuits in transformer language models: the few edges that carry a behaviour.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # The markup of rich would swallow what stands in brackets: the defaults.
    rich_markup_mode="markdown",
)
for command in (
    run_commands.discover,
    run_commands.evaluate,
    select_command.select,
    run_commands.compare,
    heads_command.heads,
    look_command.look,
    batch_command.batch,
    file_commands.show,
    file_commands.list_,
    file_commands.convert,
    file_commands.cache,
    new_command.new,
    doctor_command.doctor,
):
    app.command(command.__name__.rstrip("_"), cls=Command)(command)


@app.callback()
def _global(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="print the version", callback=lambda on: _version(on))
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Libraries that read models draw bars of their own, between ours, and log what concerns their developers.
    os.environ.setdefault("TQDM_DISABLE", "1")
    for library in ("torchao", "torch.utils._pytree"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.showwarning = _shown
    # A polite kill unwinds like Ctrl-C, so that temporary folders go too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A stream that was closed (`>&-`) is none at all: what is said there goes nowhere.
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    try:
        app()
    except SystemExit as end:
        refused = _close()
        if refused is None or end.code:
            raise
        _fail(refused)
    except OSError as error:  # of the output, before any command began: help that goes to a full disk
        _close()
        _fail(error)


def _shown(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """What edgewise notices, as one sentence; other warnings as they are."""
    if issubclass(category, EdgewiseWarning):
        say(f"warning: {message}")
    else:
        _show(clean(message, LONGEST_LINE), category, *where)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgewise {edgewise.__version__}")
        raise typer.Exit


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _fail(error: OSError) -> NoReturn:
    say(f"error: {refusal(error)}")
    raise SystemExit(2) from None


def _close() -> OSError | None:
    """Flushes the output, and returns what is wrong if it cannot take it: not that a reader went away early (`| head`)."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # What is left must not be tried again when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return None if isinstance(error, BrokenPipeError) else error
    return None
