"""edgewise discover: what a run leaves, what it prints, and that it can be repeated."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from support.command_line import SMALL, edgewise

import edgewise as ew
from edgewise.cli.run_output import print_curve
from edgewise.curve import Curve, CurvePoint
from edgewise.evaluation import Resampling, bootstrap
from edgewise.graph import Graph
from edgewise.store.schema import plain

FILES = {
    "attention.json",
    "circuit.json",
    "circuit.svg",
    "circuit.dot",
    "circuit.html",
    "scores.safetensors",
    "report.json",
    "curve.json",
    "recipe.json",
    "manifest.json",
}


def test_a_run_leaves_everything_and_says_what_it_found(here: Path, model: Path) -> None:
    result = edgewise("discover", "--model", model, *SMALL, "--out", "run")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (here / "run").iterdir()} == FILES
    assert os.listdir(here) == ["run"]
    for word in ("clean", "corrupted", "circuit", "random", "faithfulness", "logit_diff", "kl", "accuracy"):
        assert word in result.stdout
    graph = Graph(2, 4, 4)
    assert "30 selected by absolute score" in result.stdout
    assert f"of {graph.n_edges:,}" in result.stdout
    assert "run/" in result.stdout


def test_a_task_of_a_compiled_model_needs_no_model(here: Path) -> None:
    """The model is the task's, its circuit is found, evaluated and drawn, and the recipe says which it was."""
    arguments = ["--task", "reverse", "--method", "acdc", "--option", "tau=0.1", "--ablation", "zero"]
    result = edgewise("discover", *arguments, "--examples", "16", "--out", "run")
    assert result.exit_code == 0, result.output
    assert "reverse in reverse by acdc" in result.stdout
    assert ew.open(here / "run" / "circuit.json") == ew.task("reverse").reference
    assert json.loads((here / "run" / "recipe.json").read_text())["model"] == "reverse"
    assert 'data-node="positions"' in (here / "run" / "circuit.svg").read_text()
    again = edgewise("evaluate", here / "run", "--json")
    assert json.loads(again.stdout)["report"]["metrics"]["logit_diff"]["faithfulness"] == pytest.approx(1.0)


def test_the_manifest_names_everything_the_run_depends_on(a_run: Path) -> None:
    manifest = json.loads((a_run / "manifest.json").read_text())
    assert manifest["schema"] == "edgewise/manifest"
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert digest == "sha256:" + hashlib.sha256((a_run / name).read_bytes()).hexdigest()
    assert manifest["model"]["weights"].startswith("sha256:")
    assert len(manifest["data"]["sha256"]) == 64
    assert {"edgewise", "torch", "transformers", "python"} <= manifest["versions"].keys()


def test_the_files_agree_with_each_other(a_run: Path) -> None:
    circuit, scores = ew.open(a_run / "circuit.json"), ew.open(a_run / "scores.safetensors")
    report = json.loads((a_run / "report.json").read_text())
    assert isinstance(scores, ew.Scores)
    assert scores.top(30).without_dangling() == circuit
    assert circuit.provenance["edges"] == {"selected": 30, "kept": len(circuit), "total": circuit.graph.n_edges}
    assert circuit.provenance["selection"]["absolute"] is True
    assert report["selected"] == 30
    assert report["edges"] == len(circuit)
    shown = circuit.provenance["faithfulness"]
    assert shown["circuit"] == report["metrics"]["logit_diff"]["faithfulness"]
    assert (a_run / "circuit.svg").read_text().count("data-edge") == len(circuit)


@pytest.mark.parametrize("source", ["recipe.json", "manifest.json"])
def test_a_run_can_be_repeated_from_its_own_files(here: Path, a_run: Path, source: str) -> None:
    result = edgewise("discover", "--recipe", a_run / source, "--out", "again", "--json")
    assert result.exit_code == 0, result.output
    first, again = ew.open(a_run / "scores.safetensors"), ew.open(here / "again" / "scores.safetensors")
    assert torch.equal(first.values, again.values)
    assert ew.open(here / "again" / "circuit.json") == ew.open(a_run / "circuit.json")


def test_options_change_a_recipe(here: Path, a_run: Path) -> None:
    result = edgewise("discover", "--recipe", a_run / "recipe.json", "--edges", "5", "--ranking", "signed", "--json")
    recipe = json.loads(result.stdout)["recipe"]
    assert (recipe["edges"], recipe["ranking"], recipe["examples"]) == (5, "signed", 6)


def test_json_is_one_document_and_nothing_else(here: Path, model: Path) -> None:
    result = edgewise("discover", "--model", model, *SMALL, "--json")
    found = json.loads(result.stdout)
    assert result.stderr == ""
    assert found["folder"] == "runs/ioi-tiny-eap-ig"
    assert set(found["files"]) == FILES
    assert found["circuit"]["selected"] == 30
    assert set(found["report"]["metrics"]) == {"logit_diff", "kl", "accuracy"}


def test_the_curve_is_printed_with_the_size_that_is_enough(
    capsys: pytest.CaptureFixture[str],
) -> None:
    points = (CurvePoint(0, 0.0), CurvePoint(9, 0.5), CurvePoint(40, 0.9), CurvePoint(479, 1.0))
    print_curve(Curve("kl", "absolute", points))
    shown = capsys.readouterr().out
    assert "curve     50% · 90% · 100% of kl kept by 9 · 40 · 479 edges" in shown
    assert "of these sizes those from 40 on keep 85%; --faithfulness 0.85 takes" in " ".join(shown.split())
    print_curve(Curve("kl", "absolute", points[:2] + points[3:]))
    assert "of these sizes only all edges keep 85%" in capsys.readouterr().out


def test_quiet_prints_nothing(here: Path, model: Path) -> None:
    result = edgewise("discover", "--model", model, *SMALL, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert (here / "runs" / "ioi-tiny-eap-ig").is_dir()


def test_default_folders_are_numbered(here: Path, model: Path) -> None:
    for _ in range(3):
        assert edgewise("discover", "--model", model, *SMALL, "--quiet").exit_code == 0
    assert sorted(os.listdir(here / "runs")) == ["ioi-tiny-eap-ig", "ioi-tiny-eap-ig-2", "ioi-tiny-eap-ig-3"]


def test_a_circuit_without_a_path_is_announced(here: Path, model: Path) -> None:
    result = edgewise("discover", "--model", model, "--examples", "4", "--edges", "1")
    assert result.exit_code == 0
    assert "No path leads from input to logits" in result.stdout
    assert "no edges" in (here / "runs" / "ioi-tiny-eap-ig" / "circuit.svg").read_text()


def test_own_pairs_are_used(here: Path, model: Path) -> None:
    prompts = ew.task("ioi").prompts(ew.load(model).tokenizer, n=5)
    rows = [{"clean": p.clean, "corrupted": p.corrupted, "correct": list(p.correct)} for p in prompts]
    Path("mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    result = edgewise("discover", "--model", model, "--data", "mine.jsonl", "--edges", "20", "--json")
    found = json.loads(result.stdout)
    assert found["folder"] == "runs/mine-tiny-eap-ig"
    assert found["report"]["examples"] == 5
    assert "nll" in found["report"]["metrics"]  # no wrong answers, so no logit difference
    again = edgewise("evaluate", "runs/mine-tiny-eap-ig", "--json")
    assert json.loads(again.stdout)["report"]["metrics"] == found["report"]["metrics"]


def test_the_stability_is_printed_and_kept(here: Path, model: Path) -> None:
    """It is that of the selection the run makes: same edges, same ranking, same examples, same metric."""
    arguments = ("--model", model, *SMALL, "--ranking", "signed", "--stability", "12", "--seed", "4")
    result = edgewise("discover", *arguments, "--out", "run")
    assert result.exit_code == 0, result.output
    assert "stability 30 edges by signed score, 6 examples, 12 samples" in result.stdout
    assert "examples enough for 0.8" in result.stdout
    kept = json.loads((here / "run" / "report.json").read_text())["stability"]
    subject = ew.load(model)
    pairs = ew.task("ioi").pairs(subject.tokenizer, n=6, seed=4)
    again = bootstrap(subject, pairs, edges=30, resampling=Resampling(samples=12, seed=4, absolute=False))
    assert kept == plain(again.to_dict())
    assert again.circuit.without_dangling() == ew.open(here / "run" / "circuit.json")
    repeated = edgewise("discover", "--recipe", here / "run" / "recipe.json", "--out", "again", "--json")
    assert json.loads(repeated.stdout)["stability"] == kept
    assert edgewise("show", here / "run", "-o", "page.html").exit_code == 0


def test_the_default_method_can_go_by_a_distance(here: Path, model: Path) -> None:
    """KL is flat at the clean run, and the default method looks elsewhere."""
    result = edgewise("discover", "--model", model, *SMALL, "--metric", "kl", "--ablation", "mean", "--json")
    assert result.exit_code == 0, result.output
    assert ew.open("runs/ioi-tiny-eap-ig/circuit.json").provenance["metric"] == "kl"


def test_without_asking_there_is_no_stability(a_run: Path) -> None:
    assert "stability" not in json.loads((a_run / "report.json").read_text())
