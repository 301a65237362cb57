"""Circuits of nodes and of neurons on the command line: found, evaluated, shown, converted, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.command_line import SMALL, edgewise, refused

import edgewise as ew
from edgewise.formats.reading import find
from edgewise.old_names import NeuronCircuit, NodeScores

FEW = SMALL[:-2]
# Of the small model: 2 layers of 4 heads and an MLP, and input, with 16 coordinates each.
NODES, NEURONS = 10, 11 * 16


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, model: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("levels")
    for level, size in (("nodes", "4"), ("neurons", "60")):
        result = edgewise("discover", "--model", model, *FEW, f"--{level}", size, "--out", folder / level)
        assert result.exit_code == 0, result.output
    return {level: folder / level for level in ("nodes", "neurons")}


def test_a_run_finds_neurons_and_says_how_many(here: Path, model: Path) -> None:
    arguments = ["--model", model, *FEW, "--neurons", "40", "--ranking", "signed"]
    shown = edgewise("discover", *arguments, "--out", "a")
    assert shown.exit_code == 0, shown.output
    assert "neurons   40 selected by signed score, " in shown.stdout
    assert f"of {NEURONS} " in shown.stdout
    told = json.loads(edgewise("discover", *arguments, "--out", "b", "--json").stdout)
    assert told["circuit"]["selected"] == 40
    assert told["circuit"]["total_neurons"] == NEURONS
    assert told["report"]["neurons"]["total"] == NEURONS
    assert told["report"]["metrics"]["logit_diff"]["random"] is not None
    assert not (here / "a" / "curve.json").exists()


def test_a_run_finds_nodes_and_says_how_many(here: Path, model: Path) -> None:
    shown = edgewise("discover", "--model", model, *FEW, "--nodes", "3", "--out", "a")
    assert f"nodes     3 of {NODES} heads and MLPs by absolute score" in shown.stdout, shown.output
    assert "edges " in shown.stdout


def test_the_files_hold_what_python_finds(runs: dict[str, Path], model: Path) -> None:
    subject = ew.load(model)
    pairs = ew.task("ioi").pairs(subject.tokenizer, n=6)
    expected = ew.attribute_nodes(subject, pairs, batch_size=4)
    for level, folder in runs.items():
        scores, circuit = ew.open(folder / "scores.safetensors"), ew.open(folder / "circuit.json")
        assert isinstance(scores, NodeScores)
        torch.testing.assert_close(scores.values, expected.values)
        counts = circuit.provenance[level]
        if level == "nodes":
            assert circuit == expected.top(4)
            assert counts == {"selected": 4, "kept": 4, "total": NODES}
        else:
            assert circuit == expected.neuron_scores.top(60).without_dangling()
            assert counts == {"selected": 60, "kept": len(circuit), "total": NEURONS}  # type: ignore[arg-type]
        assert circuit.provenance["selection"]["absolute"] is True
        report = json.loads((folder / "report.json").read_text())
        assert (report["level"], report["selected"]) == (level, 60 if level == "neurons" else 4)


@pytest.mark.parametrize("level", ["nodes", "neurons"])
def test_evaluating_a_run_gives_its_report_again(runs: dict[str, Path], level: str) -> None:
    for source in (runs[level], runs[level] / "circuit.json"):
        told = json.loads(edgewise("evaluate", source, "--json").stdout)
        report = json.loads((runs[level] / "report.json").read_text())
        assert told["report"]["metrics"] == report["metrics"]
        assert ("neurons" in told["circuit"]) == (level == "neurons")
    assert ("of 176 (" in edgewise("evaluate", runs[level]).stdout) == (level == "neurons")


@pytest.mark.parametrize("level", ["nodes", "neurons"])
def test_a_run_is_repeated_from_its_manifest(runs: dict[str, Path], here: Path, level: str) -> None:
    result = edgewise("discover", "--recipe", runs[level] / "manifest.json", "--out", "again")
    assert result.exit_code == 0, result.output
    assert ew.open("again/circuit.json") == ew.open(runs[level] / "circuit.json")
    # Another size takes the place of that in the recipe.
    result = edgewise("discover", "--recipe", runs[level] / "manifest.json", "--edges", "9", "--out", "edges", "--json")
    assert json.loads(result.stdout)["circuit"]["selected"] == 9


@pytest.mark.parametrize("level", ["nodes", "neurons"])
def test_show_draws_the_edges_between_the_nodes(runs: dict[str, Path], here: Path, level: str) -> None:
    for suffix in ("html", "svg", "dot"):
        result = edgewise("show", runs[level] / "circuit.json", "--out", f"out.{suffix}", "--no-open")
        assert result.exit_code == 0, result.output
    page = Path("out.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    circuit = find(runs[level]).shown
    assert data["circuits"][0]["edges"] == len(circuit)
    size = "top 4 nodes" if level == "nodes" else "top 60 neurons"
    assert f"{size} by absolute score" in page
    assert ("of 176 (" in page) == (level == "neurons")


@pytest.mark.parametrize("form", ["eap-ig", "eap-ig-pt"])
def test_neurons_go_to_eap_ig_and_come_back(runs: dict[str, Path], here: Path, form: str) -> None:
    name = "theirs.json" if form == "eap-ig" else "theirs.pt"
    assert edgewise("convert", runs["neurons"], "--to", form, "-o", name).exit_code == 0
    assert edgewise("convert", name, "--to", "json", "-o", "circuit.json").exit_code == 0
    assert edgewise("convert", name, "--to", "safetensors", "-o", "scores.safetensors").exit_code == 0
    circuit = ew.open("circuit.json")
    assert isinstance(circuit, NeuronCircuit)
    assert circuit == ew.open(runs["neurons"] / "circuit.json")
    scores, expected = ew.open("scores.safetensors"), ew.open(runs["neurons"] / "scores.safetensors")
    assert isinstance(scores, NodeScores)
    assert isinstance(expected, NodeScores)
    assert torch.equal(scores.neuron_scores.values, expected.neuron_scores.values)


def test_scores_of_nodes_are_converted_and_submitted(runs: dict[str, Path], here: Path) -> None:
    scores = runs["neurons"] / "scores.safetensors"
    assert edgewise("convert", scores, "--to", "json", "-o", "scores.json").exit_code == 0
    assert isinstance(ew.open("scores.json"), NodeScores)
    assert edgewise("convert", runs["neurons"], "--to", "mib", "-o", "ioi_tiny").exit_code == 0
    assert "neurons_scores" in Path("ioi_tiny/importances.json").read_text()
    for form in ("csv", "graphml", "html"):
        assert edgewise("convert", runs["neurons"], "--to", form, "-o", f"out.{form}").exit_code == 0
    message = "these are scores of nodes, which have no edges to show"
    refused(edgewise("show", scores), message=message)
    refused(edgewise("convert", scores, "--to", "csv", "-o", "x.csv"), message=message)
    refused(edgewise("evaluate", scores), message="holds scores, but evaluate needs a circuit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--neurons", "5", "--nodes", "2"], "give the number of edges, of nodes or of neurons, but only one"),
        (["--neurons", "5", "--method", "exact"], "exact scores no nodes"),
        (["--nodes", "5", "--method", "acdc"], "acdc scores no nodes"),
        (["--nodes", "5", "--method", "acdc", "--tau", "0.1,0.2"], "a sweep of acdc selects edges, not nodes"),
        (["--neurons", "177"], "asked for 177 neurons, but"),
        (["--nodes", "11"], "asked for 11 nodes, but"),
        (["--nodes", "-1"], "asked for -1 nodes; give 1 or more"),
        (["--neurons", "5", "--stability", "9"], "stability is measured for edges only, not for neurons"),
    ],
)
def test_mistakes_are_one_sentence(here: Path, model: Path, arguments: list[str], message: str) -> None:
    refused(edgewise("discover", "--model", model, *FEW, *arguments, "--out", "x"), message=message)
    assert not list(here.iterdir())
