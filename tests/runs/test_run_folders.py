"""What a run leaves on the disk: where it was told to, whole or not at all, and nothing of those that were killed."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.command_line import edgewise, make_model, refused
from support.failing_disk import Disk, killed

from edgewise.comparison.compare_recipe import CompareRecipe
from edgewise.comparison.from_recipe import run_comparison
from edgewise.errors import EdgewiseError, FileError
from edgewise.runs import run as run_module
from edgewise.runs.partial import default_folder, partial_folder
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run
from edgewise.store.disk import held_folder
from edgewise.store.files import read

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes that share what was computed")
WRITTEN = {"checkpoint": "c", "trace": "t.jsonl", "history": "h.jsonl", "curves": "c.svg"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny", layers=1)


@pytest.fixture
def recipe(model: Path) -> Recipe:
    return Recipe.of(model=str(model), examples=3, edges=20, curve=1, held_out=0, method="eap")


@pytest.fixture
def computed(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe whose run is computed already: what is tried over and over is its writing."""
    found = run(recipe)
    monkeypatch.setattr(run_module, "compute", lambda *_: found)
    return recipe


# -- files do not say where files are written -------------------------------------------------------------------------


@pytest.mark.parametrize("option", WRITTEN)
@pytest.mark.parametrize("command", ["discover", "batch", "compare"])
def test_a_recipe_read_from_a_file_names_no_file_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    method = {"trace": "acdc", "checkpoint": "exact"}.get(option, "edge-pruning")
    options = {option: str(tmp_path / WRITTEN[option])}
    told = (
        {"methods": [{"method": method, "options": options}]}
        if command == "compare"
        else {"method": method, "options": options}
    )
    Path("recipe.json").write_text(json.dumps({"task": "ioi", "examples": 2, **told}))
    refused(edgewise(command, "--recipe", "recipe.json"), message="which a file may not choose; take them out")
    assert os.listdir() == ["recipe.json"]


@pytest.mark.parametrize("option", WRITTEN)
def test_what_a_user_names_is_not_written_into_recipes(recipe: Recipe, option: str) -> None:
    named = recipe.with_changes(options={option: "mine"})
    assert json.loads(named.to_json())["options"] == {}
    compared = CompareRecipe.of(methods=[{"method": "eap", "options": {option: "mine"}}])
    assert json.loads(compared.to_json())["methods"][0]["options"] == {}


def test_a_manifest_of_a_run_that_kept_a_trace_repeats_it(tmp_path: Path, recipe: Recipe) -> None:
    traced = recipe.with_changes(method="acdc", edges=None, options={"tau": 0.5, "trace": str(tmp_path / "mine.jsonl")})
    run(traced, tmp_path / "run")
    assert (tmp_path / "mine.jsonl").exists()
    assert Recipe.read(tmp_path / "run" / "manifest.json").options == {"tau": 0.5}
    assert read(tmp_path / "run" / "circuit.json").provenance["recipe"]["options"] == {"tau": 0.5}


def test_found_json_names_only_circuits_beside_it(tmp_path: Path, model: Path) -> None:
    compared = CompareRecipe.of(
        model=str(model),
        examples=3,
        held_out=0,
        methods=["eap"],
        reference="none",
        edges=[10],
        pictures=[],
        areas="none",
    )
    run_comparison(compared, tmp_path / "c")
    found = tmp_path / "c" / "methods" / "eap" / "found.json"
    circuit = tmp_path / "outside.json"
    document = json.loads(found.read_text())
    circuit.write_bytes(b"{}")
    found.write_text(json.dumps({**document, "circuits": ["../../../outside.json"], "values": [1.0]}))
    with pytest.raises(FileError, match=r"found.json: circuits.0: "):
        run_comparison(compared, tmp_path / "c")


@pytest.mark.parametrize("label", ["..", "...", ".", "../../x", "/x", "a/b", "\0", "-"])
def test_a_label_is_a_folder_below_that_of_its_comparison(label: str) -> None:
    (entry,) = CompareRecipe.of(methods=[{"method": "eap", "label": label}]).methods
    assert entry.folder == os.path.basename(entry.folder) != ""
    assert not entry.folder.startswith(".")


@pytest.mark.parametrize(
    "field", [{"data": "../../x.csv"}, {"model": "../.."}, {"model": "x" * 400}, {"task": "../../x"}]
)
def test_a_recipe_does_not_choose_its_folder(tmp_path: Path, field: dict[str, str]) -> None:
    folder = default_folder(Recipe.of(**field), tmp_path)
    assert folder.resolve().parent == tmp_path
    assert len(os.fsencode(folder.name)) <= 220


# -- one process at a time, and what is deleted is one's own ------------------------------------------------------------


def test_a_second_process_is_refused_at_once(tmp_path: Path, computed: Recipe) -> None:
    with held_folder(tmp_path / "run"), pytest.raises(FileError, match="being written by another process"):
        run(computed, tmp_path / "run")
    compared = CompareRecipe.of(methods=["eap"], reference="none", pictures=[])
    with held_folder(tmp_path / "c"), pytest.raises(FileError, match="being written by another process"):
        run_comparison(compared, tmp_path / "c")
    assert not [path for name in ("run", "c") for path in (tmp_path / name).iterdir()]


@pytest.mark.parametrize("name", ["run", "run[1]", "a *", "run?"])
def test_resuming_deletes_nothing_of_other_runs(tmp_path: Path, recipe: Recipe, name: str) -> None:
    search = recipe.with_changes(method="acdc", edges=None, options={"tau": 0.5})
    others = [f".{name}.b.0123abcd.tmp", f"{name}.b", f"{name}.b.partial", ".run1.0123abcd.tmp", ".a b.0123abcd.tmp"]
    for other in others:
        (tmp_path / other).mkdir()
    state = partial_folder(tmp_path / name)
    state.mkdir()
    (state / "recipe.json").write_text(search.to_json())
    (state / "mine.txt").write_text("precious")
    (tmp_path / f".{name}.0123abcd.tmp").mkdir()
    run(search, tmp_path / name, start="resume")
    assert set(os.listdir(tmp_path)) == {*others, name, state.name}
    assert os.listdir(state) == ["mine.txt"]


def test_a_whole_run_is_no_state_to_resume(tmp_path: Path, recipe: Recipe) -> None:
    search = recipe.with_changes(method="acdc", edges=None, options={"tau": 0.5})
    run(search, tmp_path / "run.partial")
    before = sorted(os.listdir(tmp_path / "run.partial"))
    for start in ("new", "resume"):
        with pytest.raises(FileError, match="holds the state"):
            run(search, tmp_path / "run", start=start)
    assert sorted(os.listdir(tmp_path / "run.partial")) == before


@pytest.mark.parametrize("name", ["run", "run.partial", "run.partial/trace.jsonl"])
def test_no_run_is_written_through_links(tmp_path: Path, recipe: Recipe, name: str) -> None:
    search = recipe.with_changes(method="acdc", edges=None, options={"tau": 0.5})
    (tmp_path / "precious").mkdir() if "/" not in name else (tmp_path / "precious").write_text("")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / "precious")
    if "/" in name:
        (tmp_path / "run.partial" / "recipe.json").write_text(search.to_json())
    with pytest.raises(FileError, match="is a link"):
        run(search, tmp_path / "run", start="resume" if "/" in name else "new")
    assert (tmp_path / "precious").stat().st_size == 0 or not os.listdir(tmp_path / "precious")


# -- disks that are full, and processes that are killed -----------------------------------------------------------------


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_disk_is_said_whenever_it_is_full_and_nothing_is_left(
    tmp_path: Path, computed: Recipe, step: int
) -> None:
    for at in range(1, 200, step):
        with Disk(tmp_path, at).in_place() as disk:
            try:
                run(computed, tmp_path / "runs" / "a")
            except EdgewiseError as error:
                assert "no space left on device" in str(error)  # noqa: PT017
        if not disk.reached():
            break
        assert not os.listdir(tmp_path), at
    assert at > 20
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def survived(work: Callable[[], Any]) -> bool:
    """Whether a process of its own that does the work lives to the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that other threads may hold locks: none does
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def killed_at(folder: Path, at: int, work: Callable[[], Any]) -> bool:
    with Disk(folder, at, killed).in_place():
        return not survived(work)


@forks
@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_search_goes_on_and_leaves_nothing_else(tmp_path: Path, recipe: Recipe, step: int) -> None:
    search = recipe.with_changes(method="acdc", edges=None, options={"tau": 0.5})
    expected, at = run(search).circuit, 2
    while killed_at(tmp_path, at, partial(run, search, tmp_path / str(at) / "run")):
        place = tmp_path / str(at)
        begun = (place / "run.partial").is_dir()
        if (place / "run" / "manifest.json").exists():
            with pytest.raises(FileError, match="holds the whole run already"):
                run(search, place / "run", start="resume")
        else:
            run(search, place / "run", start="resume" if begun else "new")
        assert os.listdir(place) == ["run"]
        assert read(place / "run" / "circuit.json") == expected
        at += step
    assert at > 20


@forks
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path, computed: Recipe, step: int) -> None:
    at = 1
    while killed_at(tmp_path, at, partial(run, computed, tmp_path / "run")):
        at += step
    assert sys.platform == "win32" or at > 20
    assert os.listdir(tmp_path) == ["run"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert {*manifest["files"], "manifest.json"} == set(os.listdir(tmp_path / "run"))
