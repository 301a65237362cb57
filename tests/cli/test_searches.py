"""edgewise discover with a search: its threshold, a sweep over it, and going on after an interruption."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.command_line import ENTRY, edgewise, make_model, refused

import edgewise as ew

ACDC = ["--method", "acdc", "--examples", "4"]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "deep", layers=4)


def lines(path: Path) -> list[tuple[str, bool]]:
    return [(line["edge"], line["kept"]) for line in map(json.loads, path.read_text().splitlines()[1:])]


def test_a_search_leaves_its_trace_in_the_run_folder(here: Path, model: Path) -> None:
    result = edgewise("discover", "--model", model, *ACDC, "--tau", "0.05", "--out", "run")
    assert result.exit_code == 0, result.output
    assert os.listdir(here) == ["run"]
    circuit = ew.open("run/circuit.json")
    assert circuit.provenance["options"]["tau"] == 0.05
    assert len(lines(here / "run" / "trace.jsonl")) == circuit.provenance["tested"]
    assert f"{circuit.provenance['tested']:,} removals" in result.stdout
    assert json.loads(Path("run/report.json").read_text())["tested"] == circuit.provenance["tested"]
    assert "trace.jsonl" in json.loads((here / "run" / "manifest.json").read_text())["files"]


def test_several_values_are_a_sweep(here: Path, model: Path) -> None:
    result = edgewise("discover", "--model", model, *ACDC, "--tau", "1e-1,1e-2,1e-3", "--edges", "20", "--out", "run")
    assert result.exit_code == 0, result.output
    sweep = json.loads(Path("run/sweep.json").read_text())
    assert (sweep["schema"], sweep["dial"]) == ("edgewise/sweep", "tau")
    assert [row["tau"] for row in sweep["values"]] == [0.1, 0.01, 0.001]
    scores = ew.open("run/scores.safetensors")
    assert isinstance(scores, ew.Scores)
    for row in sweep["values"]:
        circuit = ew.open(Path("run") / row["circuit"])
        alone = edgewise("discover", "--model", model, *ACDC, "--tau", str(row["tau"]), "--out", f"alone-{row['tau']}")
        assert alone.exit_code == 0, alone.output
        single = ew.open(f"alone-{row['tau']}/circuit.json")
        assert circuit == single
        assert row["edges"] == len(circuit)
        assert row["tested"] == single.provenance["tested"]
        assert row["faithfulness"] == pytest.approx(single.provenance["faithfulness"]["circuit"], abs=1e-6)
        assert any(
            line.split()[:2] == [f"{row['tau']:.4g}", f"{row['edges']:,}"] for line in result.stdout.splitlines()
        )
    chosen = ew.open("run/circuit.json")
    assert chosen == scores.top(20).without_dangling()
    for suffix in (".svg", ".html", ".dot"):
        assert Path(f"run/circuit{suffix}").stat().st_size


def test_the_page_of_a_search_says_how_to_get_an_order_and_a_curve(here: Path, model: Path) -> None:
    result = edgewise("discover", "--model", model, *ACDC, "--tau", "0.05", "--out", "run")
    assert result.exit_code == 0, result.output
    said = next(one for one in page_data("run")["missing"] if "sweep over its tau" in one)
    command = shlex.split(said.partition("curve: ")[2])
    again = edgewise(*command[1:], "--out", "swept")
    assert again.exit_code == 0, again.output
    page = page_data("swept")
    assert page["edges"]["score"] is not None
    assert len(page["curves"][0]["edges"]) >= 5
    assert not any("sweep" in one or "curve" in one for one in page["missing"])


def page_data(folder: str) -> dict[str, Any]:
    text = Path(folder, "circuit.html").read_text()
    return json.loads(text.split('id="data">')[1].split("</script>")[0])


def test_attribution_and_acdc_combined(here: Path, model: Path) -> None:
    how = ["--method", "eap+acdc", "--examples", "4", "--tau", "0.01", "--option", "share=0.2"]
    result = edgewise("discover", "--model", model, *how)
    assert result.exit_code == 0, result.output
    circuit = ew.open("runs/ioi-tiny-eap-acdc/circuit.json")
    known = circuit.provenance
    assert len(circuit) < known["candidates"] == round(0.2 * circuit.graph.n_edges)
    assert len(lines(Path("runs/ioi-tiny-eap-acdc/trace.jsonl"))) > known["tested"]  # what goes untested is written too


def test_a_sweep_can_be_repeated_from_its_recipe(here: Path, model: Path) -> None:
    assert edgewise("discover", "--model", model, *ACDC, "--tau", "0.1,0.01", "--out", "run").exit_code == 0
    result = edgewise("discover", "--recipe", "run/recipe.json", "--out", "again", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["recipe"]["options"] == {"tau": [0.1, 0.01]}
    assert [row["tau"] for row in found["sweep"]] == [0.1, 0.01]
    assert Path("run/scores.safetensors").read_bytes() != b""
    first, again = ew.open("run/scores.safetensors"), ew.open("again/scores.safetensors")
    assert first.values.equal(again.values)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tau", "-0.1"], "tau must be at least 0, not -0.1"),
        (["--tau", "nan"], "tau must be a number, not nan"),
        (["--tau", "0.1,-1"], "tau must be at least 0, not -1.0"),
        (["--tau", "much"], "--tau 'much' is not a number, nor several with commas between"),
        (["--option", "tau=[]"], "needs at least one value of tau"),
        (["--tau", "0.1", "--edges", "5"], "decides itself how many edges"),
        (["--tau", "0.1", "--resume"], "there is no interrupted run"),
        (["--tau", "0.1", "--method", "eap"], "the method eap has no option 'tau'"),
        (["--method", "eap", "--resume"], "eap keeps no state"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_refused(here: Path, model: Path, arguments: list[str], message: str) -> None:
    refused(edgewise("discover", "--model", model, *ACDC, *arguments), message=message)
    refused(edgewise("discover", "--model", model, *ACDC, *arguments, "--out", "run"), message=message)
    assert not os.listdir(here)


ONE_AND_SEVERAL = [
    pytest.param("0.02", "run", marks=pytest.mark.slow),
    pytest.param("0.02", None, marks=pytest.mark.slow),
    ("0.02,0.01", "run"),
]


@pytest.mark.parametrize(("tau", "out"), ONE_AND_SEVERAL)
def test_a_killed_run_goes_on_and_ends_the_same(here: Path, deep: Path, tau: str, out: str | None) -> None:
    command = ["discover", "--model", str(deep), "--method", "acdc", "--tau", tau, "--examples", "60"]
    where = ["--out", out] if out else []
    folder = here / (out or "runs/ioi-deep-acdc")
    partial = folder.with_name(folder.name + ".partial")
    kill_when([*command, *where], lambda: written(partial) > 3000)
    assert (partial / "recipe.json").is_file()
    refused(edgewise(*command, *where), message=f"{partial} holds the state of an interrupted run; go on with --resume")
    if out:
        other = edgewise(*command, *where, "--seed", "7", "--resume")
        refused(other, message=f"{partial} holds the state of another run")
    result = edgewise(*command, *where, "--resume")
    assert result.exit_code == 0, result.output
    assert not partial.exists()
    assert not list(folder.parent.glob(".*.tmp"))
    assert edgewise(*command, "--out", "whole").exit_code == 0
    assert ew.open(folder / "circuit.json") == ew.open(here / "whole" / "circuit.json")
    assert {path.name for path in folder.iterdir()} == {path.name for path in (here / "whole").iterdir()}
    for trace in folder.glob("trace*.jsonl"):
        assert lines(trace) == lines(here / "whole" / trace.name)
    for name in ("circuit.json", *(path.name for path in folder.glob("circuit-*.json"))):
        ours, theirs = ew.open(folder / name), ew.open(here / "whole" / name)
        assert ours == theirs
        assert ours.provenance.get("tested") == theirs.provenance.get("tested")


def test_ctrl_c_says_how_to_go_on(here: Path, deep: Path) -> None:
    command = [
        "discover",
        "--model",
        str(deep),
        "--method",
        "acdc",
        "--tau",
        "0.02",
        "--examples",
        "60",
        "--out",
        "run",
    ]
    errors = kill_when(command, lambda: written(here / "run.partial") > 3000, with_signal=signal.SIGINT)
    # On a busy machine lines of progress come before it.
    told = f"interrupted; what was done so far is in {here / 'run.partial'}; the same command with --resume goes on"
    assert errors.splitlines()[-1] == told
    assert os.listdir(here) == ["run.partial"]
    assert edgewise(*command, "--resume").exit_code == 0
    assert os.listdir(here) == ["run"]


def written(partial: Path) -> int:
    return sum(path.stat().st_size for path in partial.glob("trace*"))


def kill_when(command: list[str], condition: object, with_signal: signal.Signals = signal.SIGKILL) -> str:
    """What a run says on stderr that gets a signal as soon as the condition holds."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([*ENTRY, *command], stderr=subprocess.PIPE, text=True, env=environment) as running:
        deadline = time.monotonic() + 90
        while not condition():  # type: ignore[operator]
            assert running.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(with_signal)
        return running.communicate(timeout=60)[1]
