"""State: where an optimisation is, kept so that it can go on after an interruption exactly as if there had been none."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edgewise.errors import FileError
from edgewise.pruning.history import History

SECONDS_BETWEEN_SAVES = 20.0

Tensors = dict[str, Tensor]


@dataclass
class State:
    """The file of a run's state; `path` None keeps nothing. `key` says which run it is of."""

    path: Path | None
    key: dict[str, Any]
    _latest: Tensors = field(default_factory=dict)
    _history: History = field(default_factory=History)
    _steps: int = 0
    _saved_at: float = field(default_factory=time.monotonic)

    def read(self) -> Tensors | None:
        """What the file holds, None if there is none. FileError for a file of another run, or that cannot be written."""
        if self.path is None:
            return None
        if self.path.is_dir() or not os.access(self.path.parent, os.W_OK):
            raise FileError(
                f"the checkpoint {self.path} cannot be written: give a file in a folder that exists and is yours"
            )
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise FileError(f"{self.path} is not a checkpoint of edgewise: {error}") from None
        if header.get("key") != self._key:
            raise FileError(
                f"{self.path} is the checkpoint of another run: model, pairs, metric, ablation, batch size or options differ"
            )
        return tensors

    def keep(self, tensors: Tensors, history: History) -> None:
        """Remember the state after a whole step; it goes to the file from time to time and when the run is cut short."""
        self._history, self._steps = history, len(history.records)
        self._latest = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save()

    @contextmanager
    def kept_on_the_way_out(self) -> Iterator[None]:
        """Saves the last whole step when the work inside is interrupted or fails."""
        try:
            yield
        except BaseException:
            self.save()
            raise

    def remove(self) -> None:
        """The run is complete: the file is no longer needed."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def save(self) -> None:
        """Write under a temporary name and rename, so that the file is always whole."""
        if self.path is None or not self._latest:
            return
        temporary = self.path.with_name(self.path.name + ".part")
        tensors = {**self._latest, "records": self._history.to_tensor(self._steps)}
        save_file(tensors, temporary, metadata={"key": self._key})
        os.replace(temporary, self.path)
        self._saved_at = time.monotonic()

    @property
    def _key(self) -> str:
        return json.dumps(self.key, sort_keys=True)
