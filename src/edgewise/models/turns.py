"""Turns: hooks and flags of a model are shared by all who use it, so that one call at a time may have it."""

from __future__ import annotations

from threading import Lock, RLock
from weakref import WeakKeyDictionary

from torch import nn

_turns: WeakKeyDictionary[nn.Module, RLock] = WeakKeyDictionary()  # type: ignore[type-arg]
_making = Lock()


def turn_on(model: nn.Module) -> RLock:  # type: ignore[valid-type]
    """The lock of a model, the same for every Subject of it. A thread that has it may take it again."""
    with _making:
        return _turns.setdefault(model, RLock())
