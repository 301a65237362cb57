"""Members of an installed package are known by name, in Python and on the command line; broken ones harm nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import ENTRY, edgewise, refused

import edgewise as ew
from edgewise.ablations import ABLATIONS, ablation
from edgewise.attribution import attribution
from edgewise.errors import InvalidValue, UnknownName
from edgewise.loading import family_of
from edgewise.methods import METHODS, method
from edgewise.metrics import METRICS, metric
from edgewise.plugins import PluginWarning, _entries
from edgewise.runs.recipe import Recipe
from edgewise.tasks import TASKS

MODULE = '''
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

import edgewise as ew
from edgewise.ablations import Zero
from edgewise.attribution.base import ScoringMethod
from edgewise.metrics import METRICS
from edgewise.options import option
from edgewise.tasks import task


@dataclass(frozen=True)
class Even(ScoringMethod):
    """The same score for all."""

    value: float = option(1.0, "the score of every edge")
    name: ClassVar[str] = "even-scores"
    summary: ClassVar[str] = "the same score for every edge"
    cost: ClassVar[str] = "nothing"

    def scores(self, request):
        return torch.full(request.subject.graph.edge_mask.shape, self.value)


class Nothing(Zero.__mro__[1]):
    """Zero by another name."""

    name = "nothing-at-all"
    summary = "zero vectors"

    def prepare(self, subject, pairs, batch_size):
        return Zero().prepare(subject, pairs, batch_size)


half = replace(METRICS["logit_diff"], name="half_diff", function=lambda x, a, c: METRICS["logit_diff"].function(x, a, c) / 2)
backwards = replace(task("reverse"), name="backwards")
family = replace(ew.FAMILIES["toy"], name="plugged", architectures=("PluggedTransformer",))
number = 3
'''
POINTS = """
[edgewise.methods]
even_scores = plugged_in:Even
eap = plugged_in:Even
gone = plugged_in:Gone
missing-module = plugged_nowhere:Even
misnamed = plugged_in:Even
number = plugged_in:number

[edgewise.tasks]
backwards = plugged_in:backwards
gone-task = plugged_in:vanished

[edgewise.metrics]
half-diff = plugged_in:half

[edgewise.ablations]
nothing-at-all = plugged_in:Nothing

[edgewise.families]
plugged = plugged_in:family
"""


def make_package(folder: Path) -> Path:
    facts = folder / "plugged_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged-package\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(POINTS)
    (folder / "plugged_in.py").write_text(MODULE)
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_package(tmp_path)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "plugged_in", raising=False)
    return folder


def listed(members: object) -> list[str]:
    with pytest.warns(PluginWarning) as told:
        found = list(members)  # type: ignore[call-overload]
    assert all("of the package plugged-package" in str(one.message) for one in told)
    return found


def test_members_are_known_by_name(package: Path) -> None:
    assert method("even-scores", {"value": 2}).name == "even-scores"  # type: ignore[attr-defined]
    assert method("even_scores", {}).value == 1.0  # type: ignore[attr-defined]
    assert metric("half-diff").name == metric("half_diff").name == "half_diff"
    assert ew.task("backwards").metric == "logit_diff"
    assert ablation("nothing_at_all").name == "nothing-at-all"
    assert family_of("PluggedTransformer").name == "plugged"
    assert ("backwards" in listed(TASKS), "half_diff" in list(METRICS)) == (True, True)
    assert "nothing-at-all" in ABLATIONS


def test_they_run_through_the_api(package: Path) -> None:
    subject = ew.load("reverse")
    pairs = ew.task("backwards").pairs(subject.tokenizer, n=4)
    scores = ew.attribute(subject, pairs, method="even-scores", metric="half-diff", value=3.0)
    assert set(scores.values[subject.graph.edge_mask].tolist()) == {3.0}
    circuit = ew.discover(subject, pairs, method="eap-ig", metric="half_diff", ablation="nothing-at-all", edges=5)
    assert circuit.provenance["metric"] == "half_diff"
    assert "half_diff" in ew.evaluate(subject, circuit, pairs, metrics=["half_diff"]).metrics


def test_an_attribution_of_another_package_proposes_to_methods_that_take_one(package: Path) -> None:
    subject = ew.load("reverse")
    pairs = ew.task("backwards").pairs(subject.tokenizer, n=4)
    options = {"attribution": "even-scores", "threshold": 0.5, "tau": 1.0}
    circuit = ew.discover(subject, pairs, method="eap+acdc", **options)
    assert circuit.provenance["candidates"] == subject.graph.n_edges
    assert attribution("even_scores") is attribution("even-scores")
    assert method("hap", {"attribution": "even-scores"}).attribution == "even-scores"  # type: ignore[attr-defined]
    with pytest.raises(UnknownName, match=r"'number' of the package plugged-package cannot be used: it does not score"):
        method("eap+acdc", {"attribution": "number"})
    with pytest.raises(UnknownName, match="unknown attribution 'acdc'"):
        method("hap", {"attribution": "acdc"})


def test_a_task_of_another_package_brings_its_model(package: Path) -> None:
    assert Recipe(task="backwards").model == TASKS["backwards"].model == "reverse"
    assert Recipe(task="nobodys").model == "nano"
    with pytest.raises(UnknownName, match="the task 'gone-task' of the package plugged-package cannot be used"):
        Recipe.of(task="gone-task")
    with pytest.raises(InvalidValue, match="task"):
        Recipe.of(task=["ioi"])


def test_a_broken_one_is_named_in_one_sentence_and_harms_no_other(package: Path) -> None:
    names = listed(METHODS)
    assert "even-scores" in names
    assert not {"gone", "missing-module", "misnamed", "number"} & set(names)
    for name, message in (
        ("gone", "AttributeError: module 'plugged_in' has no attribute 'Gone'"),
        ("missing-module", "ModuleNotFoundError: No module named 'plugged_nowhere'"),
        ("misnamed", "its name 'even-scores' is not that of its entry point"),
        ("number", "3 is not a dataclass that derives from edgewise.contract.Method"),
    ):
        with pytest.raises(UnknownName) as found:
            method(name, {})
        assert str(found.value) == f"the method {name!r} of the package plugged-package cannot be used: {message}"
    assert method("eap", {}).__class__.__module__ == "edgewise.attribution.eap"


def test_nobody_looks_for_what_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr("edgewise.plugins._entries", refuse)
    assert method("eap", {}).name == "eap"
    assert "ioi" in TASKS
    assert ew.load("reverse").family.name == "toy"
    with pytest.raises(AssertionError, match="looked up"):
        method("even-scores", {})


def test_without_the_package_they_are_unknown() -> None:
    assert not _entries("edgewise.methods", tuple(sys.path))
    with pytest.raises(UnknownName, match="unknown method 'even-scores'"):
        method("even-scores", {})


def test_the_command_line_lists_them_and_warns_of_what_is_broken(tmp_path: Path) -> None:
    package = make_package(tmp_path)
    places = os.pathsep.join([str(package), str(Path(str(ew.__file__)).parents[1])])
    given = {**os.environ, "PYTHONPATH": places}
    found = subprocess.run(
        [*ENTRY, "list", "--json"], capture_output=True, text=True, env=given, cwd=tmp_path, check=False
    )
    rows = json.loads(found.stdout)
    assert {"even-scores"} <= {row["name"] for row in rows["methods"]}
    assert {"backwards"} <= {row["name"] for row in rows["tasks"]}
    assert {"plugged"} <= {row["name"] for row in rows["models"]}
    told = found.stderr.splitlines()
    assert (
        "warning: the method 'eap' of the package plugged-package is ignored: edgewise itself has one of that name"
        in told
    )
    assert sum("'gone'" in line for line in told) == 1


@pytest.mark.filterwarnings("ignore::edgewise.plugins.PluginWarning")
def test_they_run_on_the_command_line(package: Path) -> None:
    assert "the score of every edge" in edgewise("list", "method", "even-scores").stdout
    work = ["--method", "even-scores", "--option", "value=2", "--ablation", "nothing-at-all", "--metric", "half-diff"]
    found = edgewise(
        "discover", "--task", "backwards", "--model", "reverse", "--examples", "4", "--edges", "3", *work, "--quiet"
    )
    assert found.exit_code == 0, found.output
    refused(
        edgewise("discover", "--method", "gone"),
        message="error: the method 'gone' of the package plugged-package cannot be used: AttributeError",
    )
