"""Help fits a screen: examples that are commands, the options most calls need, and all of them when asked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer
from support.command_line import edgewise

from edgewise.cli import app
from edgewise.cli.help_text import COMMON_OPTIONS, EXAMPLES_OF_HELP

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SCREEN = 56


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_a_screen_and_the_long_one_has_every_option(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short, everything = (edgewise(name, way).stdout for way in ("--help", "--help-all"))
    assert len(short.splitlines()) <= SCREEN
    names = [
        next(word for word in one.opts if word.startswith("--"))[:18]
        for one in COMMANDS[name].params
        if one.opts[0][0] == "-"
    ]
    assert all(re.search(rf"│( \*)? +{one}", everything) for one in names)  # long names are cut
    hidden = [one for one in names if not re.search(rf"│( \*)? +{one}", short)]
    assert bool(hidden) == (name in COMMON_OPTIONS)
    assert (f"{len(hidden)} more options: edgewise {name} --help-all" in short) == bool(hidden)


def test_what_is_named_as_common_exists() -> None:
    for name, words in COMMON_OPTIONS.items():
        assert set(words.split()) <= {one.name for one in COMMANDS[name].params}, name


@pytest.mark.parametrize("line", [line for lines in EXAMPLES_OF_HELP.values() for line in lines])
def test_examples_name_a_command_and_options_that_exist(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    program, name, *words = shlex.split(line)
    assert program == "edgewise"
    known = {word for one in COMMANDS[name].params for word in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known
    assert line in edgewise(name, "--help").stdout


def test_a_shell_completes_commands_and_options() -> None:
    asked = {"_EDGEWISE_COMPLETE": "complete_bash", "COMP_WORDS": "edgewise disc", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "edgewise"], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert "discover" in done.stdout
