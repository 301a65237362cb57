"""edgewise evaluate, show, list and convert work on what discover wrote."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import edgewise, make_model, refused

import edgewise as ew
from edgewise.runs.recipe import Recipe


def test_evaluate_repeats_the_report(a_run: Path) -> None:
    first = json.loads((a_run / "report.json").read_text())["metrics"]
    for file in (a_run, a_run / "circuit.json"):
        result = edgewise("evaluate", file, "--json")
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["report"]["metrics"] == first


def test_evaluate_takes_other_settings(a_run: Path) -> None:
    arguments = ["--metric", "prob_diff", "--metric", "kl", "--ablation", "zero", "--examples", "3", "--seed", "7"]
    report = json.loads(edgewise("evaluate", a_run, *arguments, "--json").stdout)["report"]
    assert list(report["metrics"]) == ["prob_diff", "kl"]
    assert (report["ablation"], report["examples"]) == ("zero", 3)
    assert "prob_diff" in edgewise("evaluate", a_run, *arguments).stdout


def test_evaluate_refuses_another_graph_and_other_weights(a_run: Path, tmp_path: Path) -> None:
    deeper, retrained = make_model(tmp_path / "deep", layers=3), make_model(tmp_path / "re", seed=1)
    refused(edgewise("evaluate", a_run, "--model", deeper), message="belongs to another graph")
    refused(edgewise("evaluate", a_run, "--model", retrained), message="give --allow-other-weights")
    assert edgewise("evaluate", a_run, "--model", retrained, "--allow-other-weights").exit_code == 0


def test_show_writes_the_page_and_says_where(a_run: Path, here: Path) -> None:
    result = edgewise("show", a_run, "-o", "a.html")
    assert result.stdout == "a.html\n"
    assert Path("a.html").read_text() == (a_run / "circuit.html").read_text()
    alone = edgewise("show", a_run / "circuit.json", "--scores", a_run / "scores.safetensors", "-o", "b.svg", "--json")
    assert json.loads(alone.stdout) == {"file": "b.svg"}
    assert Path("b.svg").read_text() == (a_run / "circuit.svg").read_text()
    assert edgewise("show", a_run / "scores.safetensors", "-o", "c.dot").exit_code == 0


def test_show_compares_and_takes_exact_effects(a_run: Path, here: Path) -> None:
    scores = a_run / "scores.safetensors"
    ew.save(ew.open(scores).top(12), "other.json")
    result = edgewise("show", a_run, "--compare", "other.json", "--exact", scores, "-o", "a.html")
    assert result.exit_code == 0, result.stderr
    content = page_data("a.html")
    assert [one["key"] for one in content["circuits"]] == ["a", "b"]
    assert content["circuits"][1]["edges"] == 12
    assert content["edges"]["exact"] == content["edges"]["score"]
    ew.save(ew.Circuit.full(ew.Graph(1, 1, 1)), "small.json")
    refused(edgewise("show", a_run, "--compare", "small.json", "-o", "b.html"), message="of another graph")
    refused(edgewise("show", a_run, "--compare", "other.json", "-o", "b.svg"), message="name a .html file, not .svg")
    refused(edgewise("show", a_run, "-o", "b.pdf"), message="unknown picture format '.pdf'")
    assert not Path("b.html").exists()


def test_show_opens_the_page_only_when_somebody_is_there(
    a_run: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or False)
    assert edgewise("show", a_run, "-o", "a.html").exit_code == 0
    assert opened == []  # not a terminal
    result = edgewise("show", a_run, "-o", "a.html", "--open")
    assert opened == [(here / "a.html").as_uri()]
    assert result.stdout == "a.html\n"
    assert "open the file yourself" in result.stderr
    monkeypatch.setattr("edgewise.cli.console.is_watched", lambda: True)
    assert edgewise("show", a_run, "-o", "a.svg").exit_code == 0
    assert edgewise("show", a_run, "-o", "a.html", "--no-open").exit_code == 0
    assert len(opened) == 1
    assert edgewise("show", a_run, "-o", "a.html").exit_code == 0
    assert len(opened) == 2


def test_the_page_of_a_run_has_its_report_curve_prompts_and_command(a_run: Path) -> None:
    content = page_data(a_run / "circuit.html")
    (found,) = content["circuits"]
    report = json.loads((a_run / "report.json").read_text())["metrics"]
    assert {one["name"]: one["faithfulness"] for one in found["metrics"]} == {
        name: one["faithfulness"] for name, one in report.items()
    }
    assert found["examples"][0]["clean"]
    assert found["repeat"].startswith("edgewise discover --model ")
    (curve,) = content["curves"]
    assert (curve["edges"][0], curve["edges"][-1]) == (0, content["edges"]["total"])
    assert len(curve["edges"]) == 8
    assert content["missing"] == []


def test_the_command_on_the_page_repeats_the_run(a_run: Path, here: Path) -> None:
    import shlex

    command = page_data(a_run / "circuit.html")["circuits"][0]["repeat"]
    result = edgewise(*shlex.split(command)[1:], "--out", "again")
    assert result.exit_code == 0, result.stderr
    assert ew.open("again/circuit.json") == ew.open(a_run / "circuit.json")


def page_data(path: str | Path) -> dict[str, Any]:
    return json.loads(Path(path).read_text().split('id="data">')[1].split("</script>")[0])


KINDS = ("models", "methods", "tasks", "metrics", "ablations", "formats")


@pytest.mark.parametrize("kind", KINDS)
def test_list_shows_what_there_is(kind: str) -> None:
    names = [row["name"] for row in json.loads(edgewise("list", kind, "--json").stdout)[kind]]
    shown = edgewise("list", kind)
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in names)
    assert len(names) >= 3


def test_list_without_a_kind_shows_all() -> None:
    assert set(json.loads(edgewise("list", "--json").stdout)) == set(KINDS)
    assert edgewise("list").exit_code == 0


@pytest.mark.parametrize(
    "form", ["json", "safetensors", "eap-ig", "eap-ig-pt", "svg", "png", "dot", "html", "csv", "graphml", "neuronpedia"]
)
def test_convert_writes_every_format(a_run: Path, here: Path, form: str) -> None:
    result = edgewise("convert", a_run, "--to", form, "-o", "out")
    assert (result.exit_code, result.stdout) == (0, "out\n"), result.stderr
    assert edgewise("convert", a_run, "--to", form, "-o", "-").stdout_bytes == Path("out").read_bytes()


def test_eap_ig_goes_out_and_comes_back(a_run: Path, here: Path) -> None:
    assert edgewise("convert", a_run, "--to", "eap-ig", "-o", "theirs.json").exit_code == 0
    assert edgewise("convert", "theirs.json", "--to", "json", "-o", "circuit.json").exit_code == 0
    assert edgewise("convert", "theirs.json", "--to", "safetensors").exit_code == 0
    assert ew.open("circuit.json") == ew.open(a_run / "circuit.json")
    assert torch.equal(ew.open("theirs.safetensors").values, ew.open(a_run / "scores.safetensors").values)
    assert json.loads(Path("theirs.json").read_text())["cfg"]["d_model"] == 16
    refused(edgewise("evaluate", "circuit.json"), message="does not say which model it is for; give --model")
    refused(edgewise("evaluate", "circuit.json", "--model", "nano"), message="give --task or --data")
    refused(edgewise("show", "theirs.json"), message="is an EAP-IG file; use edgewise convert")
    assert json.loads(edgewise("convert", "theirs.json", "--to", "json", "--sign", "-1", "-o", "-").stdout)


def test_eap_ig_tensors_go_out_and_come_back(a_run: Path, here: Path) -> None:
    assert edgewise("convert", a_run, "--to", "eap-ig-pt", "-o", "theirs.pt").exit_code == 0
    assert edgewise("convert", "theirs.pt", "--to", "json", "-o", "circuit.json").exit_code == 0
    assert ew.open("circuit.json") == ew.open(a_run / "circuit.json")


def test_the_benchmark_gets_a_folder(a_run: Path, here: Path) -> None:
    result = edgewise("convert", a_run, "--to", "mib", "-o", "submission/ioi_nano")
    assert (result.exit_code, result.stdout) == (0, "submission/ioi_nano\n"), result.stderr
    assert edgewise("convert", "submission/ioi_nano/importances.json", "--to", "safetensors", "-o", "s.safetensors")
    assert torch.equal(ew.open("s.safetensors").values, ew.open(a_run / "scores.safetensors").values)
    refused(edgewise("convert", a_run, "--to", "mib", "-o", "submission/ioi_nano"), message="already exists")
    refused(edgewise("convert", a_run / "circuit.json", "--to", "mib"), message="only a circuit")


def test_convert_does_not_write_over_a_file_unasked(a_run: Path, here: Path) -> None:
    Path("mine.svg").write_text("precious")
    refused(edgewise("convert", a_run, "--to", "svg", "-o", "mine.svg"), message="mine.svg already exists")
    assert Path("mine.svg").read_text() == "precious"
    assert edgewise("convert", a_run, "--to", "svg", "-o", "mine.svg", "--force").exit_code == 0
    refused(edgewise("convert", a_run / "circuit.json", "--to", "safetensors"), message="there is only a circuit")


def test_convert_writes_what_stands_beside(a_run: Path, here: Path) -> None:
    beside = ["--scores", a_run / "scores.safetensors", "--exact", a_run / "scores.safetensors"]
    result = edgewise("convert", a_run / "circuit.json", "--to", "csv", *beside, "--compare", a_run, "-o", "a.csv")
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader(Path("a.csv").read_text().splitlines()))
    scores = ew.open(a_run / "scores.safetensors")
    assert [row["edge"] for row in rows] == sorted(ew.open(a_run / "circuit.json").edges, key=lambda e: -abs(scores[e]))
    assert all(float(row["score"]) == float(row["exact"]) == scores[row["edge"]] for row in rows)
    assert {row["in_other"] for row in rows} == {"1"}
    refused(
        edgewise("convert", a_run, "--to", "svg", "--compare", a_run),
        message="--compare works with --to csv or --to html",
    )


def test_a_png_without_matplotlib_is_refused(a_run: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(edgewise("convert", a_run, "--to", "png", "-o", "a.png"), message="pip install 'edgewise[viz]'")
    refused(edgewise("show", a_run, "-o", "a.png"), message="pip install 'edgewise[viz]'")
    assert not Path("a.png").exists()


def test_help_shows_the_defaults() -> None:
    # In markup what stands in brackets is a style, and disappears.
    text = " ".join(edgewise("discover", "--help-all").stdout.split())
    assert "[default: corrupted]" in text
    assert f"[default: {Recipe().method}]" in text
    assert "[default: the task's]" in text
