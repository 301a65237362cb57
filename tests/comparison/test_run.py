"""A comparison's folder: what it holds, that it goes on after a kill, and that it is nobody else's."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import ENTRY, make_model

import edgewise as ew
from edgewise.comparison import CompareRecipe, compare
from edgewise.comparison import compare as compare_package
from edgewise.comparison.from_recipe import Finished, default_folder, run_comparison
from edgewise.errors import FileError, InvalidValue
from edgewise.evaluation import measure_grid
from edgewise.formats.reading import find
from edgewise.runs import resolved

compare_module = sys.modules["edgewise.comparison.comparison_job"]
FILES = {"comparison.json", "figures.json", "manifest.json", "recipe.json", "reference.json", "table.md"}
PICTURES = {"roc", "precision-recall", "faithfulness", "effects", "interpolation", "histograms", "roles"}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


def recipe_on(model: Path, **changes: Any) -> CompareRecipe:
    methods = ["eap", {"method": "acdc", "values": [0.1, 0.01]}, "exact"]
    fields = {"model": str(model), "examples": 4, "methods": methods, "edges": [10, "20%"], "pictures": []}
    return CompareRecipe.of(**{**fields, **changes})


@pytest.fixture(scope="session")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run_comparison(recipe_on(tiny, pictures=["svg", "png"]), tmp_path_factory.mktemp("compared") / "run")


def timeless(value: Any) -> Any:
    """The document without what differs from run to run."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in ("seconds", "created", "finished")}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def document(folder: Path) -> Any:
    return timeless(json.loads((folder / "comparison.json").read_text()))


def spied(monkeypatch: pytest.MonkeyPatch, stop_at: str | None = None) -> list[str]:
    """The names of the methods that are run from now on; `stop_at` is interrupted instead."""
    ran: list[str] = []
    genuine = compare_module.run_entry

    def run_entry(entry: Any, *more: Any, **options: Any) -> Any:
        ran.append(entry.name)
        if entry.name == stop_at:
            raise KeyboardInterrupt
        return genuine(entry, *more, **options)

    monkeypatch.setattr(compare_module, "run_entry", run_entry)
    return ran


# -- what it holds ----------------------------------------------------------------------------------------------------


def test_what_a_report_would_warn_of_stands_in_every_table(finished: Finished) -> None:
    """The model of these tests has random weights, so it does none of what is asked."""
    (sentence,) = (said for said in finished.comparison.warnings if "right answer in" in said)
    assert finished.folder is not None
    for shown in (str(finished.comparison), (finished.folder / "table.md").read_text()):
        assert sentence in shown.partition("Warnings")[2]
    assert sentence in document(finished.folder)["data"]["warnings"]


def test_it_holds_documents_tables_pictures_and_every_method(finished: Finished) -> None:
    folder = finished.folder
    assert folder is not None
    pictures = {f"{name}.{suffix}" for name in PICTURES for suffix in ("svg", "png")}
    assert {path.name for path in folder.iterdir()} == FILES | pictures | {"methods"}
    assert set(finished.files) == FILES | pictures
    assert sorted(path.name for path in (folder / "methods").iterdir()) == ["acdc", "eap", "exact", "random"]
    assert ew.open(folder / "reference.json") == finished.comparison.reference.circuit  # type: ignore[union-attr]
    scores = ew.open(folder / "methods" / "eap" / "scores.safetensors")
    assert isinstance(scores, ew.Scores)
    assert scores.provenance["method"] == "eap"
    assert document(folder) == timeless(json.loads(json.dumps(finished.comparison.to_dict())))
    assert CompareRecipe.read(folder / "manifest.json") == CompareRecipe.read(folder / "recipe.json") == finished.recipe


def test_the_manifest_has_the_hash_of_every_file(finished: Finished) -> None:
    folder = finished.folder
    assert folder is not None
    manifest = json.loads((folder / "manifest.json").read_text())
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == names - {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert digest == "sha256:" + hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert {"edgewise", "torch", "transformers", "python"} <= manifest["versions"].keys()


def test_pictures_are_whole(finished: Finished) -> None:
    folder = finished.folder
    assert folder is not None
    for name in PICTURES:
        assert ElementTree.parse(folder / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
        data = (folder / f"{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert data.endswith(b"IEND\xaeB`\x82")


def test_the_figures_are_there_as_numbers(finished: Finished) -> None:
    assert finished.folder is not None
    figures = json.loads((finished.folder / "figures.json").read_text())
    assert [one["name"] for one in figures["scatters"]] == ["eap"]
    assert [one["name"] for one in figures["histograms"]] == ["eap", "exact"]
    assert len(figures["interpolations"]) == 6
    assert figures["roles"][0]["roles"][0]["name"] == "input"
    assert "shape" in figures["interpolations"][0]


def test_heads_and_the_grid_are_studied_when_asked_for(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = {"threshold": [0.001, 0.01], "tau": [0.1, 0.01, 0.001]}
    recipe = recipe_on(tiny, heads="20%", grid=grid)
    found = run_comparison(recipe, tmp_path / "run").comparison
    assert found.reference is not None
    subject = ew.load(str(tiny))
    prompts = ew.task("ioi").pairs(subject.tokenizer, n=4, seed=recipe.seed)
    alone = measure_grid(subject, prompts, found.reference.circuit, thresholds=grid["threshold"], taus=grid["tau"])
    assert found.grid == alone
    assert found.heads is not None
    assert set(found.heads.edges) == {"eap", "acdc", "exact"}
    table = (tmp_path / "run" / "table.md").read_text()
    for title in ("Heads in the circuits nearest to", "eap+acdc over both thresholds"):
        assert title in table
    written = document(tmp_path / "run")
    assert len(written["grid"]["points"]) == 6
    monkeypatch.setattr(compare_module, "measure_grid", lambda *_, **__: pytest.fail("the grid is measured already"))
    run_comparison(recipe, tmp_path / "run")
    assert document(tmp_path / "run") == written


# -- going on ---------------------------------------------------------------------------------------------------------


def test_a_finished_folder_computes_nothing_and_says_the_same(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finished.folder is not None
    copy = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    ran = spied(monkeypatch)
    for name in ("evaluate_each", "areas_of"):
        monkeypatch.setattr(compare_module, name, lambda *_, **__: pytest.fail("circuits are measured already"))
    run_comparison(finished.recipe, copy)
    assert ran == []
    for name in ("comparison.json", "table.md", "figures.json", "roc.svg", "roc.png", "roles.svg", "interpolation.png"):
        assert (copy / name).read_bytes() == (finished.folder / name).read_bytes(), name


@pytest.mark.parametrize("stop_at", ["acdc", "random"])
def test_an_interrupted_comparison_goes_on(
    finished: Finished, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: str
) -> None:
    with monkeypatch.context() as patched:
        first = spied(patched, stop_at)
        with pytest.raises(KeyboardInterrupt, match=f"what is finished is kept in {tmp_path / 'run'}"):
            run_comparison(recipe_on(tiny), tmp_path / "run")
    then = spied(monkeypatch)
    run_comparison(recipe_on(tiny), tmp_path / "run")
    assert then == [name for name in ("exact", "eap", "acdc", "random") if name not in first[:-1]]
    assert finished.folder is not None
    assert document(tmp_path / "run") == document(finished.folder)


def test_an_interrupt_while_circuits_are_measured_loses_no_method(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(compare_module, "evaluate_each", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_comparison(recipe_on(tiny), tmp_path / "run")
    then = spied(monkeypatch)
    run_comparison(recipe_on(tiny), tmp_path / "run")
    assert then == []


def test_a_killed_process_leaves_whole_methods_and_is_continued(
    finished: Finished, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = ["eap", {"method": "exact", "label": "slow"}]
    recipe, folder = recipe_on(tiny, methods=methods, reference="none"), tmp_path / "run"
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    slow = "import edgewise.attribution.patcher as e, time; f = e.Patcher.effects;"
    slow += "e.Patcher.effects = lambda self, reader, _: (time.sleep(0.2), f(self, reader))[1];"
    command = [sys.executable, "-c", slow + ENTRY[-1], "compare", "--recipe", "recipe.json", "--out", str(folder)]
    # As many threads as here: more of them add up in another order.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as running:
        _wait_for(lambda: (folder / "methods" / "eap" / "found.json").is_file())
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    assert not (folder / "comparison.json").exists()
    # What a kill in the middle of a write leaves behind.
    (folder / "methods" / ".slow.01230123.tmp").mkdir()
    (folder / "methods" / ".slow.01230123.tmp" / "scores.safetensors").write_bytes(b"half")
    (folder / ".table.md.45674567.tmp").write_bytes(b"half")
    (folder / "methods" / "eap" / ".areas.json.89ab89ab.tmp").write_bytes(b"half")
    ran = spied(monkeypatch)
    again = run_comparison(recipe, folder)
    assert "eap" not in ran
    assert "slow" in ran
    assert not list(folder.rglob("*.tmp"))
    assert torch.equal(again.comparison["slow"].scores.values, finished.comparison["exact"].scores.values)
    assert finished.comparison["eap"].curve == again.comparison["eap"].curve


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "the comparison did not start"
        time.sleep(0.02)


def test_exact_effects_go_on_in_the_middle(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgewise.attribution.patcher import Patcher

    genuine, calls = Patcher.effects, []

    def counted(self: Any, reader: int, _: Any) -> Any:
        calls.append(reader)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return genuine(self, reader)

    monkeypatch.setattr(Patcher, "effects", counted)
    with pytest.raises(KeyboardInterrupt):
        run_comparison(recipe_on(tiny, methods=["exact"]), tmp_path / "run")
    left = tmp_path / "run" / "unfinished"
    assert [str(path.relative_to(left)) for path in left.rglob("*") if path.is_file()] == ["exact/checkpoint"]
    found = run_comparison(recipe_on(tiny, methods=["exact"]), tmp_path / "run")
    readers = len(found.comparison["exact"].scores.graph.readers)
    assert calls[5:] == list(range(4, readers))
    assert not (tmp_path / "run" / "unfinished").exists()


def test_a_full_disk_is_said_and_leaves_what_is_finished(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = spied(monkeypatch)
    with monkeypatch.context() as patched:
        genuine = os.fsync

        def full(descriptor: int) -> None:
            if ran[-1:] == ["acdc"]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            genuine(descriptor)

        patched.setattr("edgewise.store.disk.os.fsync", full)
        with pytest.raises(FileError, match="cannot be written: no space left on device"):
            run_comparison(recipe_on(tiny), tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "methods").iterdir()) == ["eap", "exact"]
    ran.clear()
    run_comparison(recipe_on(tiny), tmp_path / "run")
    assert ran == ["acdc", "random"]


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_the_folder_of_another_recipe_is_refused(finished: Finished, tiny: Path) -> None:
    with pytest.raises(FileError, match="holds a comparison of another recipe; name a new folder"):
        run_comparison(recipe_on(tiny, seed=1), finished.folder)


def test_a_folder_of_something_else_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    with pytest.raises(FileError, match="already exists and holds no comparison; name a new folder"):
        run_comparison(recipe_on(tiny), tmp_path / "mine")
    with pytest.raises(FileError, match=r"notes\.txt already exists and is not a folder"):
        run_comparison(recipe_on(tiny), tmp_path / "mine" / "notes.txt")
    assert os.listdir(tmp_path / "mine") == ["notes.txt"]


def test_parts_made_with_other_weights_are_refused(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = tmp_path_factory.mktemp("changing") / "tiny"
    make_model(model)
    recipe = recipe_on(model, methods=["eap"])
    run_comparison(recipe, tmp_path / "run")
    make_model(model, seed=1)
    with pytest.raises(FileError, match="was made with another model, other prompts or other options"):
        run_comparison(recipe, tmp_path / "run")


def test_a_damaged_part_is_said(finished: Finished, tmp_path: Path) -> None:
    assert finished.folder is not None
    copy = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    path = copy / "methods" / "eap" / "scores.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileError, match="is truncated or not a safetensors file"):
        run_comparison(finished.recipe, copy)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("found.json", '{"schema": "edgewise/comparison-part", "version": 1}', "the key 'key' is missing"),
        ("found.json", "{", "is truncated"),
        ("curve.json", '{"curve": [{"edges": 1}]}', "is missing"),
    ],
)
def test_a_part_that_someone_changed_is_said(
    finished: Finished, tmp_path: Path, name: str, text: str, message: str
) -> None:
    assert finished.folder is not None
    copy = Path(shutil.copytree(finished.folder, tmp_path / "copy"))
    (copy / "methods" / "eap" / name).write_text(text)
    with pytest.raises(FileError, match=message):
        run_comparison(finished.recipe, copy)


def test_everything_is_refused_before_a_model_is_loaded(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolved, "load", lambda *_, **__: pytest.fail("the model must not be loaded"))
    for changes in (
        {"task": "iou"},
        {"reference": "none.json"},
        {"reference": "task", "task": "induction"},
        {"methods": ["eapp"]},
        {"ablation": "nothing"},
    ):
        with pytest.raises(ew.EdgewiseError):
            run_comparison(recipe_on(tiny, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_need_matplotlib_and_say_so(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.figures.canvas.find_spec", lambda _: None)
    with pytest.raises(InvalidValue, match=r'pip install "edgewise\[viz\]"'):
        run_comparison(recipe_on(tiny, pictures=["svg"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run_comparison(recipe_on(tiny, methods=["eap"]), tmp_path / "run")  # no pictures, nothing needed


def test_the_default_folder_is_the_one_to_go_on_in(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipe_on(tiny, methods=["random"], reference="none")
    assert default_folder(recipe) == Path("runs/compare-ioi-tiny")
    run_comparison(recipe, default_folder(recipe))
    assert default_folder(recipe) == Path("runs/compare-ioi-tiny")
    assert default_folder(recipe.with_changes(seed=1)) == Path("runs/compare-ioi-tiny-2")


def test_the_package_and_the_function_are_told_apart() -> None:
    assert compare is compare_package is ew.compare


def test_a_method_of_a_comparison_is_shown_with_effects_chance_and_reference(finished: Finished) -> None:
    assert finished.folder is not None
    shown = find(finished.folder / "methods" / "eap")
    ours = finished.comparison["eap"]
    assert shown.scores is not None
    assert shown.exact is not None
    assert torch.equal(shown.scores.values, ours.scores.values)
    assert torch.equal(shown.exact.values, finished.comparison["exact"].scores.values)
    assert shown.circuit == ours.scores.top(len(ours.scores) // 10).without_dangling()
    (curve,) = shown.curves
    assert [point.edges for point in curve.points] == [point.edges for point in ours.curve]
    assert [point.faithfulness for point in curve.points] == [point.faithfulness["logit_diff"] for point in ours.curve]
    assert all(point.random is not None for point in curve.points)
    assert shown.reference is not None
    with pytest.raises(FileError, match="is a comparison; name the folder of one method"):
        find(finished.folder)
