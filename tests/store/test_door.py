"""The door of all readers: what it lets in, that claims are held against content, and that hashes are checked."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from support.file_readers import READERS, a_method, a_run, bounded, some_scores, stored
from support.strategies import graphs

import edgewise as ew
from edgewise.data.pair_files import read_rows
from edgewise.errors import FileError
from edgewise.formats.reading import find
from edgewise.graph import Graph
from edgewise.runs.recipe import Recipe
from edgewise.store.dimensions import check_claim, table_shape
from edgewise.store.manifest import file_hash, give_up_broken
from edgewise.store.opening import read_bytes

# Readers of one file, whose name they are given.
NOT_ALONE = ("report", "curve", "attention", "card of a data set")
ALONE = {name: one for name, one in READERS.items() if one.read is not stored and name not in NOT_ALONE}
HUGE = (10**7, 10**18, 10**400)


# -- ordinary files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALONE)
def test_a_pipe_is_refused_and_nobody_waits_for_it(name: str, tmp_path: Path) -> None:
    path = ALONE[name].make(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FileError, match="is a pipe or a device, not an ordinary file"):
        ALONE[name].read(path)


def test_devices_and_folders_are_refused_and_links_are_followed(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="/dev/zero is a pipe or a device"):
        read_bytes("/dev/zero")
    with pytest.raises(FileError, match="is a folder; name a file in it"):
        read_bytes(tmp_path)
    (tmp_path / "file").write_bytes(b"whole")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_bytes(tmp_path / "link") == b"whole"


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileError, match=r"scores.json has 1,099,511,627,776 bytes or more, .* up to 2,147,483,648"):
        ew.open(path)


# -- claims -----------------------------------------------------------------------------------------------------------


@given(graphs())
def test_a_graph_is_counted_by_its_numbers_alone(graph: Graph) -> None:
    assert graph.n_edges == len(graph.edges) == int(graph.edge_mask.sum())
    assert table_shape(graph) == graph.edge_mask.shape


CLAIMING = ("circuit", "scores as JSON", "circuit of neurons", "scores of nodes as JSON", "EAP-IG", "EAP-IG, nodes")


@pytest.mark.parametrize("name", CLAIMING)
def test_a_claim_far_beyond_the_content_is_neither_believed_nor_computed(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    path = reader.make(tmp_path)
    whole = json.loads(path.read_bytes())
    holders = [whole.get("graph", {}), whole.get("cfg", {}), whole]
    claims = [(holder, key) for holder in holders for key, value in holder.items() if type(value) is int]
    for holder, key in claims:
        before = holder[key]
        for huge in HUGE:
            holder[key] = huge
            path.write_text(json.dumps(whole))
            with bounded():
                try:
                    reader.read(path)
                except FileError:
                    continue
                assert (key, name[:6]) == ("d_model", "EAP-IG"), huge  # which only tell it
        holder[key] = before


def test_of_a_few_bytes_that_claim_very_many_rows_only_some_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, count = tmp_path / "many.parquet", 100_000
    columns = {
        name: arrow.repeat(text, count) for name, text in (("clean", "a b"), ("corrupted", "a c"), ("correct", " d"))
    }
    parquet.write_table(arrow.table(columns), path)
    most = 1000 + path.stat().st_size // 4
    assert most < 3000
    monkeypatch.setattr("edgewise.data.pair_files.FREE_ROWS", 1000)
    with pytest.raises(FileError, match=rf"has more than {most:,} rows in [\d,]+ bytes; say how many"):
        read_rows(path)
    with pytest.warns(UserWarning, match=f"only the first {most:,} rows are read, for 2 pairs"):
        assert len(read_rows(path, n=2)) == most


def test_rows_of_text_are_never_taken_for_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.data.pair_files.FREE_ROWS", 0)
    path = tmp_path / "short.csv"
    path.write_text("clean,corrupted,correct\n" + "a,b,c\n" * 500)
    assert len(read_rows(path)) == 500


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_a_key_that_is_there_twice_is_refused_by_name(tmp_path: Path) -> None:
    path = ew.save(some_scores().top(3), tmp_path / "c.json")
    path.write_text(path.read_text().replace('"version": 1', '"version": 1, "version": 1'))
    with pytest.raises(FileError, match=r"c.json is not usable JSON: the key 'version' is in one object twice"):
        ew.open(path)


@pytest.mark.parametrize("graph", [Graph(80, 64, 8), Graph(80, 64, 64)], ids=["shared keys", "a key for each head"])
def test_one_edge_of_a_model_of_70_billion_weights_is_believed(graph: Graph) -> None:
    assert check_claim(graph, 1) is graph
    assert check_claim(graph, 1, width=8192) is graph


def test_a_circuit_of_one_edge_of_such_a_model_comes_back(tmp_path: Path) -> None:
    circuit = ew.Circuit.from_edges(Graph(80, 64, 8), ["m0->logits"])
    assert ew.open(ew.save(circuit, tmp_path / "one.json")) == circuit


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "1e39"])
def test_a_score_that_no_file_of_ours_holds_is_refused(number: str, tmp_path: Path) -> None:
    path = ew.save(some_scores(), tmp_path / "s.json")
    value = json.loads(path.read_text())
    value["edges"]["m0->logits"] = "here"
    path.write_text(json.dumps(value).replace('"here"', number))
    with pytest.raises(FileError, match=r"s\.json"):
        ew.open(path)


@pytest.mark.parametrize("split", [0, 0.0, 0.25, "auto", None])
def test_a_split_goes_to_a_file_and_comes_back_without_a_warning(split: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipe = Recipe.of(data="x.csv", split=split)
        (tmp_path / "r.json").write_text(recipe.to_json())
        assert Recipe.read(tmp_path / "r.json") == recipe


# -- hashes -----------------------------------------------------------------------------------------------------------


def listed(folder: Path) -> Path:
    """The folder with a manifest of all its files."""
    files = {str(path.relative_to(folder)): file_hash(path) for path in folder.rglob("*") if path.is_file()}
    (folder / "manifest.json").write_text(
        json.dumps({"schema": "edgewise/manifest", "version": 1, "recipe": Recipe().model_dump(), "files": files})
    )
    return folder


@pytest.mark.parametrize(
    ("make", "name", "read"),
    [
        *(
            (a_run(name), name, find)
            for name in ("circuit.json", "scores.safetensors", "report.json", "curve.json", "attention.json")
        ),
        *(
            (a_method(name), name, lambda folder: stored(folder / "grid.json"))
            for name in (
                *(f"methods/eap/{part}" for part in ("found.json", "curve.json", "areas.json")),
                *(f"methods/eap/{part}" for part in ("scores.safetensors", "circuit-00.json")),
                "grid.json",
                "sample.json",
            )
        ),
    ],
)
def test_what_a_manifest_lists_is_read_only_as_it_was_written(
    make: Callable[[Path], Path], name: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = make(tmp_path)
    read(listed(tmp_path))
    whole = path.read_bytes()
    at = whole.index(b"0.") if b"0." in whole else len(whole) - 3
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(FileError, match=rf"{name} was changed or damaged after it was written: .* or make it again"):
        read(tmp_path)
    (tmp_path / "manifest.json").unlink()
    if name.endswith(".safetensors"):
        read(tmp_path)  # a flipped bit of a score is a score


def test_a_single_file_is_held_against_the_manifest_beside_it(tmp_path: Path) -> None:
    path = ew.save(some_scores(), tmp_path / "scores.safetensors")
    listed(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FileError, match="was changed or damaged"):
        ew.open(path)
    copied = tmp_path / "elsewhere"
    copied.mkdir()
    (copied / path.name).write_bytes(path.read_bytes())
    ew.open(copied / path.name)


def test_what_no_manifest_of_ours_lists_is_read(tmp_path: Path) -> None:
    listed(tmp_path)
    path = ew.save(some_scores(), tmp_path / "more.safetensors")
    assert torch.equal(ew.open(path).values, some_scores().values)  # type: ignore[union-attr]
    (tmp_path / "manifest.json").write_text('{"name": "a page", "files": ["more.safetensors"]}')
    ew.open(path)


def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    a_method("grid.json")(tmp_path)
    manifest = json.loads((listed(tmp_path) / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "files": {"../x": "sha256:0"}}))
    with pytest.raises(FileError, match=r"lists '\.\./x', which is not below its folder"):
        give_up_broken(tmp_path)


def test_a_part_that_is_to_be_made_again_ends_the_manifest_of_what_is_whole(tmp_path: Path) -> None:
    a_method("grid.json")(tmp_path)
    manifest = listed(tmp_path) / "manifest.json"
    give_up_broken(tmp_path)
    assert manifest.exists()
    (tmp_path / "methods" / "eap" / "curve.json").unlink()
    sample = tmp_path / "sample.json"
    whole = sample.read_text()
    sample.write_text(whole.replace("0.1", "0.3"))
    with pytest.raises(FileError, match=r"sample\.json was changed or damaged"):
        give_up_broken(tmp_path)
    assert manifest.exists()
    sample.write_text(whole)
    give_up_broken(tmp_path)
    assert not manifest.exists()
