"""Door: what every use of a model goes through: one at a time, in neutral surroundings, on the model as it is now.

Hooks and flags of a model are shared by all who use it, threads and Subjects. What the caller has set in torch must change no
result, and what is kept of a model must be of its weights, hooks and config as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Any, final
from weakref import WeakKeyDictionary

from torch import nn

from edgewise.errors import EdgewiseError
from edgewise.models.fingerprint import fingerprint
from edgewise.models.hooks import uncompiled
from edgewise.models.placement import device_of
from edgewise.surroundings import neutral

_turns: WeakKeyDictionary[nn.Module, RLock] = WeakKeyDictionary()  # type: ignore[type-arg]
_making = Lock()


@final
class Door:
    """The door of one Subject to its `model`, called `name`. `look` reads from the model what is kept of it.

    `check`, once it is set, is what a model that has changed must pass, as it did when it was loaded.
    """

    def __init__(self, model: nn.Module, name: str, look: Callable[[], None]) -> None:
        self.model, self.name, self.look = model, name, look
        self.check: Callable[[], None] | None = None
        with _making:
            self._turn = _turns.setdefault(model, RLock())
        self._inside = False
        with self._turn, self._neutral():
            look()
            self._seen: Any = fingerprint(model)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The model is the caller's, until the end. A thread that is inside may come in again.

        Raises the error of `look` or `check`, before anything is computed, for a model that has changed and does not pass.
        """
        with self._turn:
            if self._inside:
                yield
                return
            with self._neutral():
                self._inside = True
                try:
                    self._refresh()
                    yield
                    self._seen = fingerprint(self.model)  # a run may change buffers of its own
                finally:
                    self._inside = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a native run, which needs nothing of what is kept: the model is not looked at."""
        with self._turn:
            if self._inside:
                yield
                return
            with self._neutral():
                yield

    @contextmanager
    def _neutral(self) -> Iterator[None]:
        device = device_of(self.model)
        with neutral("cpu" if device is None else device.type), uncompiled(self.model):
            yield

    def _refresh(self) -> None:
        now = fingerprint(self.model)
        if now == self._seen:
            return
        self._seen = None  # until it has passed
        try:
            self.look()
            if self.check is not None:
                self.check()
        except EdgewiseError as error:
            raise type(error)(f"{self.name} was changed after it was loaded: {error}") from error
