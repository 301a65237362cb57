"""A threshold is never without its metric: option, help, result, report, page and terminal name it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.command_line import edgewise
from support.families import pairs, subject

import edgewise as ew
from edgewise.methods import METHODS
from edgewise.metrics import METRICS
from edgewise.option_types import words
from edgewise.options import ITS_METRIC, options_of
from edgewise.viewer.caption import facts

# Numbers that are of no metric: shares of edges, rates and temperatures.
OF_NO_METRIC = {"share", "sparsity", "keep", "learning_rate", "temperature"}
NUMBERS = [
    (name, one)
    for name, chosen in METHODS.items()
    for one in options_of(chosen).values()
    if "float" in words(one.kind) and one.name not in OF_NO_METRIC
]
# Values that make each of them quick, and what names its metric beside the run's own.
QUICK: dict[str, dict[str, Any]] = {
    "acdc": {"tau": 0.3},
    "eap+acdc": {"tau": 0.3, "threshold": 0.01},
    "hap": {"start": "acdc", "start_tau": 0.3, "steps": 1, "edges": 20},
    "subnetwork-probing": {"steps": 1},
    "ugs": {"steps": 3},
}


@pytest.mark.parametrize(("name", "one"), NUMBERS, ids=lambda value: getattr(value, "name", value))
def test_a_number_says_which_metric_it_is_in(name: str, one: Any) -> None:
    chosen = METHODS[name]
    assert one.unit == ITS_METRIC or one.unit in options_of(chosen), "give the option a unit, or add it to OF_NO_METRIC"
    if name not in QUICK:
        return
    result = _found(name)
    assert result.provenance["units"][one.name] in METRICS
    if one.unit == ITS_METRIC:
        assert result.provenance["units"][one.name] == result.provenance["metric"] == "kl"
        assert _found(name, "logit_diff").provenance["units"][one.name] == "logit_diff"


@cache
def _found(name: str, metric: str | None = None) -> Any:
    verb = ew.attribute if name == "ugs" else ew.discover
    options = {**QUICK[name], **({} if metric is None else {"metric": metric})}
    return verb(subject("gpt2"), pairs(), method=name, **({"metric": "logit_diff"} if name == "ugs" else {}), **options)


def test_thresholds_of_two_metrics_are_told_apart() -> None:
    on = subject("gpt2")
    by_default = ew.discover(on, pairs(), method="eap+acdc", tau=0.3, threshold=0.01)
    assert by_default.provenance["units"] == {"tau": "kl", "threshold": "logit_diff"}
    named = ew.discover(on, pairs(), method="eap+acdc", tau=0.3, threshold=0.01, attribution_metric="nll")
    assert named.provenance["units"]["threshold"] == "nll"
    assert "threshold" not in ew.discover(on, pairs(), method="eap+acdc", tau=0.3).provenance["units"]
    assert "units" not in ew.discover(on, pairs(), method="eap").provenance
    assert dict(facts(by_default))["options"].startswith("tau 0.3 in kl, ")
    above = ew.attribute(on, pairs(), method="eap").above(0.1)
    assert dict(facts(above))["selection"] == "at least 0.1 in logit_diff by absolute score"


def test_help_says_what_tau_is_in() -> None:
    shown = " ".join(edgewise("discover", "--help-all").stdout.replace("│", " ").split())
    assert "in units of the metric it goes by: kl, unless --metric names another" in shown
    assert "the method's own, which is kl for searches" in shown
    listed = json.loads(edgewise("list", "method", "acdc", "--json").stdout)
    assert listed["metric"] == "kl, unless --metric names another"
    assert {one["option"]: one["meaning"] for one in listed["options"]}["tau"].endswith(
        "in units of kl, or of --metric"
    )
    both = {
        one["option"]: one["meaning"]
        for one in json.loads(edgewise("list", "method", "eap+acdc", "--json").stdout)["options"]
    }
    assert both["threshold"].endswith("in units of the metric that attribution_metric names")
    assert json.loads(edgewise("list", "method", "eap", "--json").stdout)["metric"].startswith("the task's")


def test_a_run_says_it_in_terminal_report_and_page(tmp_path: Path) -> None:
    asked = ["discover", "--method", "acdc", "--examples", "6", "--held-out", "0", "--curve", "0"]
    result = edgewise(*asked, "--tau", "0.5", "--out", tmp_path / "one")
    assert "by        kl: tau 0.5 in kl" in result.stdout, result.output
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    assert (report["metric"], report["units"]) == ("kl", {"tau": "kl"})
    assert "tau 0.5 in kl" in (tmp_path / "one" / "circuit.html").read_text()
    swept = edgewise(*asked, "--tau", "0.5,1", "--metric", "logit_diff", "--out", tmp_path / "two")
    assert "by        logit_diff: tau in logit_diff" in swept.stdout
