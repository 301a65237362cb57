"""The public surface: exactly these names, and an import that changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import edgewise

ROOT = Path(__file__).parents[1]

PUBLIC = """
    attribute attribute_nodes compare discover distributed effects ensemble evaluate load look open save select show
    stability sweep task widget
    Circuit Comparison EdgewiseError Graph Look NeuronCircuit NeuronScores NodeScores Pairs Report Scores Stability Sweep
    FAMILIES Family FusedBlocks FusedHeads NormKind Separate
    __version__
"""


def test_the_public_names_are_these_and_no_others() -> None:
    assert sorted(edgewise.__all__) == sorted(PUBLIC.split())


def test_every_public_name_is_there_and_documented() -> None:
    for name in edgewise.__all__:
        thing = getattr(edgewise, name)
        assert name == "__version__" or thing.__doc__, name


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert edgewise.__version__ == project["version"]


STATE = """
import json, random, sys
import torch
def state():
    flags = [torch.is_grad_enabled(), str(torch.get_default_dtype()), torch.get_num_threads(),
             torch.are_deterministic_algorithms_enabled()]
    return [*flags, torch.get_rng_state().tolist(), repr(random.getstate())]
before = state()
import edgewise
heavy = [name for name in ("matplotlib", "networkx", "scipy") if name in sys.modules]
print(json.dumps({"same": before == state(), "heavy": heavy}))
"""


def test_importing_sets_no_state() -> None:
    found = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, check=True, cwd=ROOT / "src")
    assert json.loads(found.stdout) == {"same": True, "heavy": []}
