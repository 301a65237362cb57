"""Checkpoint: partial sums of a long attribution run, kept so that it can go on after an interruption."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edgewise.errors import FileError
from edgewise.request import Request

SECONDS_BETWEEN_SAVES = 20.0


@dataclass
class Checkpoint:
    """Sums [writer, reader] over the `done` first units of work of the run `key` describes; `path` None keeps nothing."""

    path: Path | None
    key: str
    sums: Tensor
    done: int = 0
    _saved_at: float = field(default_factory=time.monotonic)

    @classmethod
    def open(cls, path: Path | None, request: Request) -> Checkpoint:
        """The state in the file, or a fresh one if there is none. FileError for a file of another run."""
        sums = torch.zeros(request.subject.graph.edge_mask.shape, dtype=torch.float64)
        if path is None:
            return cls(None, "", sums)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise FileError(
                f"the checkpoint {path} cannot be written: give a file in a folder that exists and is yours"
            )
        key = _key(request)
        if not path.exists():
            return cls(path, key, sums)
        try:
            with safe_open(path, framework="pt") as file:
                header, stored = file.metadata() or {}, file.get_tensor("sums")
        except (OSError, SafetensorError) as error:
            raise FileError(f"{path} is not a checkpoint of edgewise: {error}") from None
        if header.get("key") != key:
            raise FileError(
                f"{path} is the checkpoint of another run (model, pairs, metric, ablation or batch size differ)"
            )
        return cls(path, key, stored, int(header["done"]))

    def add(self, unit: int, reader: int, effects: Tensor) -> None:
        """Count unit number `unit`: effects [writer] of the edges into `reader`."""
        self.sums[: len(effects), reader] += effects
        self.done = unit + 1
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        """Write the state under a temporary name and rename it, so that the file is always whole."""
        if self.path is None:
            return
        temporary = self.path.with_name(self.path.name + ".part")
        try:
            save_file({"sums": self.sums}, temporary, metadata={"key": self.key, "done": str(self.done)})
            os.replace(temporary, self.path)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise FileError(f"the checkpoint {self.path} cannot be written: {error}") from None
        self._saved_at = time.monotonic()

    @contextmanager
    def kept_on_the_way_out(self) -> Iterator[None]:
        """Saves when the work inside is interrupted or fails."""
        try:
            yield
        except BaseException:
            self.save()
            raise

    def remove(self) -> None:
        """The run is complete: the file is no longer needed."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _key(request: Request) -> str:
    return json.dumps({**request.key, "batch_size": request.batch_size}, sort_keys=True)
