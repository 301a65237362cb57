"""The checkpoint of exact: nothing is lost by an interruption, and nothing of another run gets in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import VOCAB, make_subject, pairs, subject, toy_config

import edgewise as ew
from edgewise.ablations import Mean
from edgewise.attribution.patcher import Patcher
from edgewise.errors import FileError
from edgewise.models import Subject
from edgewise.pairs import Pairs


@dataclass
class Interrupt:
    """A Track at whose step number `at` the user presses Ctrl-C."""

    at: int

    def __call__(self, steps: Iterable[Any], total: int, label: str) -> Iterable[Any]:
        for number, step in enumerate(steps):
            if number == self.at:
                raise KeyboardInterrupt
            yield step


def exact(on: Subject, file: Path, **changes: Any) -> ew.Scores:
    return ew.attribute(
        on, **{"pairs": pairs(), "method": "exact", "checkpoint": str(file), "batch_size": 2, **changes}
    )


def interrupt(on: Any, file: Path, at: int = 50, **changes: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        exact(on, file, track=Interrupt(at), **changes)


@pytest.mark.parametrize("at", [1, 28, 40, 83])
def test_an_interrupted_run_goes_on_and_ends_bit_by_bit_the_same(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    on, file, patched = subject("llama"), tmp_path / "exact.safetensors", []
    effects = Patcher.effects
    monkeypatch.setattr(Patcher, "effects", lambda self, reader, _: patched.append(reader) or effects(self, reader))
    expected = exact(on, tmp_path / "other").values
    whole = len(patched)
    assert whole == 3 * len(on.graph.readers)
    interrupt(on, file, at)
    assert file.exists()
    patched.clear()
    assert torch.equal(exact(on, file).values, expected)
    assert len(patched) == whole - at
    assert list(tmp_path.iterdir()) == []


def test_interrupted_twice(tmp_path: Path) -> None:
    on, file = subject("toy"), tmp_path / "exact.safetensors"
    for at in (10, 30, 30, 70):
        interrupt(on, file, at)
    assert torch.equal(exact(on, file).values, ew.attribute(on, pairs(), method="exact", batch_size=2).values)


def test_a_run_that_fails_keeps_its_work_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on, file, effects = subject("toy"), tmp_path / "exact.safetensors", Patcher.effects

    def fail(self: Patcher, reader: int, _: Any) -> Any:
        if reader == 20:
            raise ZeroDivisionError
        return effects(self, reader)

    monkeypatch.setattr(Patcher, "effects", fail)
    with pytest.raises(ZeroDivisionError):
        exact(on, file)
    assert file.exists()


def test_long_runs_save_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.store.checkpoint.SECONDS_BETWEEN_SAVES", 0.0)
    file, seen = tmp_path / "exact.safetensors", []

    def watch(steps: Iterable[Any], total: int, label: str) -> Iterable[Any]:
        for step in steps:
            seen.append(file.exists())
            yield step

    exact(subject("toy"), file, track=watch)
    assert seen == [False] + [True] * (len(seen) - 1)


def other_pairs() -> Pairs:
    of = pairs()
    return Pairs(of.clean, (of.corrupted + 1) % VOCAB, of.correct, of.wrong, of.positions)


@pytest.mark.parametrize(
    "changes",
    [
        {"pairs": other_pairs()},
        {"metric": "prob_diff"},
        {"ablation": "zero"},
        {"batch_size": 3},
        {"ablation": Mean(over=other_pairs())},
    ],
    ids=["pairs", "metric", "ablation", "batch size", "mean over other pairs"],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    on, file = subject("toy"), tmp_path / "exact.safetensors"
    interrupt(on, file, ablation=Mean(over=pairs()) if isinstance(changes.get("ablation"), Mean) else "corrupted")
    before = file.read_bytes()
    with pytest.raises(FileError, match="checkpoint of another run"):
        exact(on, file, **changes)
    assert file.read_bytes() == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "exact.safetensors"
    interrupt(subject("toy"), file)
    with pytest.raises(FileError, match="checkpoint of another run"):
        exact(make_subject(toy_config(), seed=1), file)


@pytest.mark.parametrize("content", [b"", b"no tensors here", b"\x00" * 64])
def test_a_file_that_is_no_checkpoint_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "exact.safetensors"
    file.write_bytes(content)
    with pytest.raises(FileError, match="is not a checkpoint of edgewise"):
        exact(subject("toy"), file)
    assert file.read_bytes() == content


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "exact.safetensors"
    interrupt(subject("toy"), file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(FileError, match="is not a checkpoint of edgewise"):
        exact(subject("toy"), file)


def test_a_safetensors_file_of_something_else_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "exact.safetensors"
    for name in ("weights", "sums"):
        save_file({name: torch.zeros(2)}, file)
        with pytest.raises(FileError, match=r"checkpoint"):
            exact(subject("toy"), file)


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    for place in (tmp_path / "missing" / "exact.safetensors", tmp_path):
        with pytest.raises(FileError, match="cannot be written"):
            exact(subject("toy"), place, track=Interrupt(0))
