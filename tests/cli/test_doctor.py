"""`edgewise doctor`: what is here, what is missing, and how to get it."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from support.command_line import edgewise

from edgewise.cli import doctor_command


def test_it_prints_versions_devices_models_the_cache_and_extras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "mine"))
    result = edgewise("doctor", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [row["name"] for row in found["versions"]][:2] == ["python", "edgewise"]
    assert found["devices"][0]["name"] == "cpu"
    assert {"nano", "smollm2"} <= {row["name"] for row in found["models"]}
    assert found["cache"][0] == {"name": "edgewise", "folder": str(tmp_path / "mine"), "state": "not there yet"}
    assert "viz" in [row["name"] for row in found["extras"]]
    table = edgewise("doctor").stdout
    assert all(title in table for title in found)


def test_a_package_that_is_missing_or_too_old_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor_command.version

    def version(name: str) -> str:
        if name == "anywidget":
            raise PackageNotFoundError
        return {"matplotlib": "1.0", "numpy": "1.0"}.get(name) or real(name)

    monkeypatch.setattr(doctor_command, "version", version)
    rows = {row["name"]: row for row in doctor_command.extras()}
    assert rows["notebook"] == {
        "name": "notebook",
        "state": "anywidget not installed",
        "cure": 'pip install "edgewise[notebook]"',
    }
    assert rows["viz"]["state"] == "matplotlib is 1.0, needed is >=3.8"
    numpy = next(row for row in doctor_command.versions() if row["name"] == "numpy")
    assert numpy == {"name": "numpy", "version": "1.0", "needed": ">=1.26"}
