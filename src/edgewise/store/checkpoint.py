"""Checkpoint: where a long run is, kept so that it can go on after an interruption exactly as if there had been none."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgewise.errors import FileError
from edgewise.ranks import current
from edgewise.store.disk import write_bytes

SECONDS_BETWEEN_SAVES = 20.0

Tensors = dict[str, Tensor]


@final
@dataclass
class Checkpoint:
    """The file of a run's state; `path` None keeps nothing. `key` says which run it is of.

    Of several ranks, whose states are alike, the first keeps it, and all go on from it.
    """

    path: Path | None
    key: Mapping[str, Any]
    _latest: Callable[[], Tensors] | None = None
    _saved_at: float = field(default_factory=time.monotonic)

    def read(self) -> Tensors | None:
        """What the file holds, None if there is none. FileError for a file of another run, or that cannot be written."""
        return current().of_first(self._read)

    def _read(self) -> Tensors | None:
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

    def keep(self, state: Callable[[], Tensors]) -> None:
        """Remember the state after a whole unit of work: `state` is called when it is written.

        It goes to the file from time to time and when the run is cut short; what it gives must not change meanwhile.
        """
        self._latest = state
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        """Write what is remembered; the file is always whole. FileError if it cannot be written."""
        if self.path is None or self._latest is None or not current().first:
            return
        write_bytes(self.path, save(self._latest(), metadata={"key": self._key}))
        self._saved_at = time.monotonic()

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
