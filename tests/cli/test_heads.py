"""edgewise heads: what it prints and writes, and that mistakes get one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import edgewise, refused

FEW = ["--examples", "8", "--held-out", "8", "--curve", "0"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """eap and ACDC on nano's ioi."""
    root = tmp_path_factory.mktemp("two")
    for name, options in (("eap", ["--edges", "24"]), ("acdc", ["--tau", "0.05"])):
        result = edgewise("discover", "--method", name, *options, *FEW, "--out", root / name, "--quiet")
        assert result.exit_code == 0, result.output
    return root / "eap", root / "acdc"


def test_it_prints_roles_worth_and_who_works_together(two: tuple[Path, Path], here: Path) -> None:
    result = edgewise("heads", *two, "-o", "heads.json", "--picture", "heads.svg")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("heads for ioi in nano, judged on 8 held-out pairs, corrupted ablation\n")
    for word in ("S-inhibition", "a0.h3 (0.9", "name mover", "Heads in the circuits", "Heads that work together"):
        assert word in result.stdout
    assert result.stdout.endswith("files     heads.json, heads.svg\n")
    document = json.loads(Path("heads.json").read_text())
    assert json.loads(edgewise("heads", *two, "--json").stdout) == document
    assert document["edges"].keys() == {"eap", "acdc"}
    assert Path("heads.svg").read_text().startswith("<?xml")


def test_it_can_judge_on_other_pairs_and_be_quiet(two: tuple[Path, Path], here: Path) -> None:
    assert "the circuits were found on" in edgewise("heads", two[0], "--held-out", "0").stdout
    assert edgewise("heads", two[0], "--held-out", "3", "--edges", "10", "--quiet").output == ""


def test_mistakes_get_one_sentence(two: tuple[Path, Path], a_run: Path, here: Path) -> None:
    refused(edgewise("heads", two[0], a_run), message="differ in their model")
    refused(edgewise("heads", here), message="is not a run folder")
    refused(edgewise("heads", two[0], two[0]), message="is named twice")
    refused(edgewise("heads", two[0], "-o", "heads.csv"), message="name a .json file")
    refused(edgewise("heads", two[0], "--picture", "heads.pdf"), message="name a file that ends in .svg or .png")
    refused(edgewise("heads", two[0], "-o", "none/heads.json"), message="there is no folder 'none'; make it first")
    missing = edgewise("heads")
    assert missing.exit_code == 2
    assert "RUNS" in missing.stderr.upper()
    assert list(here.iterdir()) == []
