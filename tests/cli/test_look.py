"""The command look: the table, JSON and a page of what the nodes of a run's circuit do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import edgewise, refused


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("look") / "run"
    small = ["--examples", "6", "--held-out", "4", "--edges", "30", "--curve", "0"]
    found = edgewise("discover", "--method", "eap", *small, "--out", folder, "--quiet")
    assert found.exit_code == 0, found.output
    return folder


def test_it_prints_a_table_of_the_nodes(run: Path) -> None:
    found = edgewise("look", run)
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("node ")
    assert "nano, 4 pairs: the logit difference is" in found.stdout
    told = json.loads(edgewise("look", run, "--json", "--prompts", "1").stdout)
    assert (told["schema"], told["examples"]) == ("edgewise/look", 4)
    assert {len(node["patterns"]) for node in told["nodes"]} == {0, 1}
    assert all(f"{node['node']} " in found.stdout for node in told["nodes"])


def test_it_writes_a_page_that_runs_nothing_and_fetches_nothing(run: Path, tmp_path: Path) -> None:
    found = edgewise("look", run, "-o", tmp_path / "look.html", "--quiet")
    assert (found.exit_code, found.stdout) == (0, "")
    page = (tmp_path / "look.html").read_text(encoding="utf-8")
    told = json.loads(edgewise("look", run, "--json").stdout)
    assert page.count("<svg ") == sum(bool(node["patterns"]) for node in told["nodes"])
    assert "default-src 'none'" in page
    assert not any(word in page for word in ("<script", "http://", "https://", " src="))
    edgewise("look", run, "-o", tmp_path / "look.json", "--quiet")
    assert json.loads((tmp_path / "look.json").read_text(encoding="utf-8")) == told


def test_what_cannot_be_written_is_refused_at_once(run: Path, tmp_path: Path) -> None:
    refused(edgewise("look", run, "-o", tmp_path / "look.txt"), message="name a file that ends in .json or .html")
    refused(edgewise("look", run, "-o", tmp_path / "no" / "look.json"), message="there is no folder")
    refused(edgewise("look", run / "scores.safetensors"), message="holds scores, but look needs a circuit")
