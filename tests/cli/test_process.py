"""The command line as a process of its own: signals, pipes, and how quickly it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command_line import ENTRY

import edgewise as ew


def process(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([*ENTRY, *arguments], capture_output=True, text=True, env=environment, timeout=120, **more)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_middle(here: Path, model: Path, sent: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [
        *ENTRY,
        "discover",
        "--model",
        str(model),
        "--method",
        "exact",
        "--examples",
        "2000",
        "--batch-size",
        "1",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as running:
        _wait_for(lambda: (here / "runs").is_dir() and any(name.endswith(".tmp") for name in os.listdir(here / "runs")))
        time.sleep(1.0)  # well into the work
        running.send_signal(sent)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    if errors == "interrupted; nothing was written\n":  # the machine was slow: nothing was measured yet
        assert not os.listdir(here)
    else:
        assert errors.endswith("the same command with --resume goes on\n")
        assert os.listdir(here / "runs") == ["ioi-tiny-exact.partial"]


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "the run did not start"
        time.sleep(0.05)


def test_help_loads_neither_torch_nor_transformers() -> None:
    code = "import sys, edgewise.cli; print(sorted({'torch', 'transformers', 'pydantic'} & sys.modules.keys()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout == "[]\n"


def test_help_and_version() -> None:
    shown = process("--help").stdout
    assert all(command in shown for command in ("discover", "evaluate", "show", "list", "convert"))
    assert process("--version").stdout == f"edgewise {ew.__version__}\n"


def test_a_reader_that_goes_away_is_no_error(a_run: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*ENTRY, "convert", str(a_run), "--to", "eap-ig", "-o", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(1)
        running.stdout.close()
        assert b"Traceback" not in running.stderr.read()
