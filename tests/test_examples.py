"""Every example runs as it stands, and prints something."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from support.alike import alike

FOLDER = Path(__file__).parent.parent / "examples"
QUICKSTART = FOLDER / "quickstart.py"
README = FOLDER.parent / "README.md"


def test_the_quickstart_runs_in_a_fresh_process_and_prints_what_the_readme_says(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-W", "error", str(QUICKSTART)]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    told = re.search(r"```text\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.S)
    assert told is not None
    assert alike(told[1], done.stdout), done.stdout


@pytest.mark.parametrize("example", sorted(set(FOLDER.glob("*.py")) - {QUICKSTART}), ids=lambda path: path.stem)
def test_example_runs(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_the_readme_shows_the_quickstart() -> None:
    readme = README.read_text(encoding="utf-8")
    code = QUICKSTART.read_text(encoding="utf-8")
    assert code.partition("\n\n")[2].strip() in readme
