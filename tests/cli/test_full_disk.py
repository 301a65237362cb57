"""Disks that are full and readers that are gone: one sentence or a quiet end, nothing half there, never a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import ENTRY, edgewise, make_model
from support.failing_disk import Disk

from edgewise.comparison.compare_recipe import CompareRecipe
from edgewise.comparison.from_recipe import run_comparison
from edgewise.errors import FileError

COMMANDS = [
    ["show", "run", "-o", "a.html"],
    ["show", "run", "-o", "a.svg"],
    ["show", "run"],
    ["convert", "run", "--to", "csv"],
    ["convert", "run", "--to", "mib", "--out", "a"],
    ["new", "task", "mine"],
]
PRINTING = [
    ["--version"],
    *(
        pytest.param(command, marks=pytest.mark.slow)
        for command in (
            ["--help"],
            ["list", "--json"],
            ["list"],
            ["doctor"],
            ["show", "run", "-o", "a.svg"],
            ["convert", "run", "--to", "csv", "-o", "-"],
            ["evaluate", "run", "--quiet", "--json"],
            ["discover", "--recipe", "run/recipe.json", "--json"],
        )
    ),
]


@pytest.fixture
def copied(a_run: Path, here: Path) -> Path:
    return Path(shutil.copytree(a_run, here / "run"))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_that_writes_says_that_the_disk_is_full(copied: Path, command: list[str]) -> None:
    before, at = sorted(copied.parent.rglob("*")), 1
    while True:
        with Disk(copied.parent, at).in_place() as disk:
            result = edgewise(*command)
        if not disk.reached():
            break
        assert result.exit_code == 2, (at, result.output, result.exception)
        assert result.stderr.startswith("error: ")
        assert "no space left on device" in result.stderr
        assert result.stderr.count("\n") == 1
        assert sorted(copied.parent.rglob("*")) == before
        at += 1
    assert at > 2
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_a_comparison_goes_on_whenever_the_disk_was_full(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", layers=1)
    told = {"examples": 3, "held_out": 0, "reference": "none", "areas": "none", "edges": [10], "pictures": ["svg"]}
    methods = ["eap", {"method": "acdc", "values": [0.5, 0.1]}]
    recipe = CompareRecipe.of(model=str(model), methods=methods, **told)
    folder, refusals = tmp_path / "c", 0
    for at in range(1, 400):
        with Disk(folder, at).in_place() as disk:
            try:
                run_comparison(recipe, folder)
            except FileError:
                refusals += 1
        if not disk.reached():
            break
        assert not list(tmp_path.rglob("*.tmp"))
        if at % 4:  # at every fourth the next goes on from what is there
            shutil.rmtree(folder, ignore_errors=True)
    assert refusals > 20
    whole = run_comparison(recipe, tmp_path / "whole")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(
        str(path.relative_to(tmp_path / "whole")) for path in (tmp_path / "whole").rglob("*") if path.is_file()
    )
    assert set(whole.files) <= set(os.listdir(folder))


def finished(command: list[str], out: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = " ".join(["exec", *(f"'{word}'" for word in (*ENTRY, *command)), out])
    shell = ["bash", "-c", line]
    return subprocess.run(shell, capture_output=True, text=True, env=environment, timeout=240, check=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_an_output_that_is_full_is_said(copied: Path, command: list[str]) -> None:
    result = finished(command, "> /dev/full")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "no space left on device" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of its own")
@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
@pytest.mark.parametrize("out", [">&-", pytest.param("| true", marks=pytest.mark.slow)])
def test_an_output_that_is_closed_is_no_error(copied: Path, command: list[str], out: str) -> None:
    result = finished(command, out)
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    assert not [line for line in result.stderr.splitlines() if "rror" in line]
