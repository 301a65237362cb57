"""Checkpoint: where a long run is, kept so that it can go on after an interruption exactly as if there had been none."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import save
from torch import Tensor

from edgewise.errors import FileError
from edgewise.ranks import current
from edgewise.store.disk import accessible, write_bytes
from edgewise.store.opening import read_bytes, understood
from edgewise.store.packed import unpacked

SECONDS_BETWEEN_SAVES = 20.0
# Training of every edge of a large model keeps several numbers for each.
MOST_OF_A_CHECKPOINT = 1 << 36

Tensors = dict[str, Tensor]


@final
@dataclass(frozen=True)
class Like:
    """What a tensor of a state must be: its dtype and shape, where None stands for any length; finite, if it must be."""

    dtype: torch.dtype
    shape: tuple[int | None, ...]
    finite: bool = True

    def fits(self, tensor: Tensor) -> bool:
        """Whether the tensor is one."""
        alike = len(self.shape) == tensor.ndim and all(
            wanted in (None, length) for wanted, length in zip(self.shape, tensor.shape, strict=True)
        )
        return alike and tensor.dtype == self.dtype and (not self.finite or bool(tensor.isfinite().all()))


@final
@dataclass
class Checkpoint:
    """The file of a run's state; `path` None keeps nothing. `key` says which run it is of.

    Of several ranks, whose states are alike, the first keeps it, and all go on from it.
    `seconds_before`: how long the interrupted runs took that it goes on from.
    """

    path: Path | None
    key: Mapping[str, Any]
    seconds_before: float = 0.0
    _latest: Callable[[], Tensors] | None = None
    _started: float = field(default_factory=lambda: _now())
    _saved_at: float = field(default_factory=lambda: _now())

    def read(self) -> Tensors | None:
        """What the file holds, None if there is none. FileError for a file of another run, or that cannot be written."""
        found, self.seconds_before = current().of_first(self._read)
        return found

    def _read(self) -> tuple[Tensors | None, float]:
        if self.path is None:
            return None, 0.0
        with accessible(self.path):
            is_folder, is_there = self.path.is_dir(), self.path.exists()
        if is_folder or not os.access(self.path.parent, os.W_OK):
            raise FileError(
                f"the checkpoint {self.path} cannot be written: give a file in a folder that exists and is yours"
            )
        if not is_there:
            return None, 0.0
        name = str(self.path)
        try:
            with understood(name):
                header, tensors = unpacked(read_bytes(self.path, most=MOST_OF_A_CHECKPOINT), name)
        except FileError as error:
            raise FileError(f"{self.path} is not a checkpoint of edgewise: {error}") from None
        if header.get("key") != self._key:
            raise FileError(
                f"{self.path} is the checkpoint of another run: model, pairs, metric, ablation, batch size or options differ"
            )
        if "sha256" not in header:
            raise FileError(
                f"{self.path} is of an edgewise whose checkpoints had no checksum: remove it to start again"
            )
        if header["sha256"] != _checksum(header, tensors):
            raise damaged(self.path, "it is not what was written")
        return tensors, _seconds(header)

    def require(self, saved: Tensors, wanted: Mapping[str, Like]) -> Tensors:
        """The state that was read, if its tensors are what this run goes on from; FileError otherwise."""
        for name in sorted(saved.keys() | wanted.keys()):
            if name not in saved or name not in wanted or not wanted[name].fits(saved[name]):
                raise damaged(self.path, f"its {name!r} is not what this run goes on from")
        return saved

    def keep(self, state: Callable[[], Tensors]) -> None:
        """Remember the state after a whole unit of work: `state` is called when it is written.

        It goes to the file from time to time and when the run is cut short; what it gives must not change meanwhile.
        """
        self._latest = state
        if _now() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        """Write what is remembered; the file is always whole. FileError if it cannot be written."""
        if self.path is None or self._latest is None or not current().first:
            return
        seconds = self.seconds_before + _now() - self._started
        header, tensors = {"key": self._key, "seconds": f"{seconds:.3f}"}, self._latest()
        write_bytes(self.path, save(tensors, metadata={**header, "sha256": _checksum(header, tensors)}))
        self._saved_at = _now()

    @contextmanager
    def kept_on_the_way_out(self) -> Iterator[None]:
        """Saves the last whole unit of work when what is inside is interrupted or fails."""
        try:
            yield
        except BaseException:
            self.save()
            raise

    def remove(self) -> None:
        """The run is complete: the file is no longer needed."""
        if self.path is not None and current().first:
            self.path.unlink(missing_ok=True)

    @property
    def _key(self) -> str:
        return json.dumps(self.key, sort_keys=True)


def _now() -> float:
    return time.monotonic()


def damaged(path: Path | None, why: str) -> FileError:
    """The refusal of a state that no run can have left."""
    return FileError(f"{path} is damaged: {why}; remove it to start again")


def _checksum(header: Mapping[str, str], tensors: Tensors) -> str:
    """Of the texts but itself, and of names, types, shapes and values of all tensors."""
    texts = {name: text for name, text in header.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _seconds(header: Mapping[str, str]) -> float:
    try:
        seconds = float(header.get("seconds", ""))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
