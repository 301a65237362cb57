"""Checkpoints that cannot be what a run left are refused, and a run that goes on reports the time of all its parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from support.families import pairs, subject
from torch import Tensor

import edgewise as ew
from edgewise.errors import EdgewiseError, FileError
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run
from edgewise.store import checkpoint as module
from edgewise.store.checkpoint import Checkpoint

METHODS: dict[str, dict[str, Any]] = {
    "exact": {"method": "exact", "batch_size": 4},
    "edge-pruning": {"method": "edge-pruning", "steps": 6, "edges": 30, "preset": "published"},
    "subnetwork-probing": {"method": "subnetwork-probing", "steps": 6, "batch": 2},
}


def interrupted(steps: Iterable[Any], *_: object) -> Iterable[Any]:
    """A Track at whose fourth step the user presses Ctrl-C."""
    for number, step in enumerate(steps):
        if number == 3:
            raise KeyboardInterrupt
        yield step


def find(file: Path, how: dict[str, Any], **more: Any) -> Any:
    verb = ew.attribute if how["method"] == "exact" else ew.discover
    return verb(subject("toy"), pairs(), checkpoint=str(file), **how, **more)


def refusal(file: Path, how: dict[str, Any]) -> str:
    """Why the run does not go on; nothing if it does."""
    try:
        find(file, how)
    except FileError as error:
        return str(error)
    return ""


def content(file: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(file, framework="pt") as opened:
        return opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def forge(file: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Changes the state in a checkpoint, checksum included."""
    header, tensors = content(file)
    change(tensors)
    one = Checkpoint(file, json.loads(header["key"]))
    one.keep(lambda: tensors)
    one.save()


def wrong(name: str, tensor: Tensor) -> Iterable[tuple[str, Callable[[dict[str, Tensor]], None]]]:
    """What can be wrong with one tensor of a state, in words."""

    def put(value: Tensor) -> Callable[[dict[str, Tensor]], None]:
        return lambda tensors: tensors.update({name: value})

    yield "gone", lambda tensors: tensors.__delitem__(name)
    yield "of another type", put(tensor.to(torch.int16))
    yield "of another shape", put(torch.cat([tensor.reshape(-1), tensor.reshape(-1)[:1], torch.zeros(1).to(tensor)]))
    if tensor.is_floating_point() and name != "records" and tensor.numel():
        yield "infinite", put(torch.full_like(tensor, torch.inf))
        yield "not a number", put(torch.full_like(tensor, torch.nan))
    if name in ("done", "step"):
        yield "beyond the end", put(torch.full_like(tensor, 10**9))
        yield "negative", put(torch.full_like(tensor, -1))
    if name == "order":
        yield "no order", put(torch.zeros_like(tensor) + 10**6)
    if name == "records":
        yield "without values", put(torch.full_like(tensor, torch.nan))


# Its states are those of subnetwork probing and two more, and as many again to try.
LONG = pytest.param("edge-pruning", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["exact", "subnetwork-probing", LONG])
def test_a_state_that_no_run_can_have_left_is_refused(name: str, tmp_path: Path) -> None:
    file, how = tmp_path / "state", METHODS[name]
    with pytest.raises(KeyboardInterrupt):
        find(file, how, track=interrupted)
    whole = file.read_bytes()
    for key, tensor in content(file)[1].items():
        for words, change in wrong(key, tensor):
            file.write_bytes(whole)
            forge(file, change)
            assert "is damaged: " in refusal(file, how), (key, words)
    file.write_bytes(whole)
    forge(file, lambda _: None)
    find(file, how)
    assert not file.exists()


def test_every_byte_of_a_checkpoint_counts(tmp_path: Path) -> None:
    file, key = tmp_path / "state", {"a": 1}
    one = Checkpoint(file, key)
    one.keep(lambda: {"sums": torch.rand(2, dtype=torch.float64), "none": torch.empty(0), "done": torch.tensor(True)})
    one.save()
    whole = file.read_bytes()
    for at in range(8, len(whole), 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(EdgewiseError):
            Checkpoint(file, key).read()


def test_a_checkpoint_without_a_checksum_says_to_start_again(tmp_path: Path) -> None:
    file, key = tmp_path / "state", {"a": 1}
    file.write_bytes(save({"done": torch.tensor(1)}, metadata={"key": json.dumps(key)}))
    with pytest.raises(FileError, match="had no checksum: remove it to start again"):
        Checkpoint(file, key).read()


def test_the_time_before_an_interruption_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    file, passed = tmp_path / "state", 0.0
    for seconds in (30.0, 12.5):
        one = Checkpoint(file, {})
        one.read()
        assert one.seconds_before == passed
        now[0] += seconds
        one.keep(lambda: {"done": torch.tensor(1)})
        one.save()
        passed += seconds
    again = Checkpoint(file, {})
    again.read()
    assert again.seconds_before == 42.5


@pytest.mark.parametrize("name", METHODS)
def test_what_goes_on_tells_how_long_it_took_in_all(name: str, tmp_path: Path) -> None:
    file, how = tmp_path / "state", METHODS[name]
    with pytest.raises(KeyboardInterrupt):
        find(file, how, track=interrupted)
    later(file, 500)
    found = find(file, how).provenance
    assert found["seconds_before"] > 500
    assert found["seconds"] > found["seconds_before"]
    assert "seconds_before" not in find(tmp_path / "new", how).provenance


def later(file: Path, seconds: float) -> None:
    """As if the run had taken so many seconds more before it was interrupted."""
    header, tensors = content(file)
    one = Checkpoint(file, json.loads(header["key"]), seconds_before=seconds)
    one.keep(lambda: tensors)
    time.sleep(0.002)  # times are kept in thousandths
    one.save()


def test_a_run_that_is_resumed_reports_the_whole_time(tmp_path: Path) -> None:
    recipe = Recipe.of(method="exact", examples=2, held_out=0, curve=0, edges=10)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(recipe, out, track=interrupted)
    later(tmp_path / "run.partial" / "checkpoint", 500)
    done = run(recipe, out, start="resume")
    assert done.seconds > 500
    assert done.spent["finding"] > 500
    assert json.loads((out / "manifest.json").read_text())["seconds"] > 500
