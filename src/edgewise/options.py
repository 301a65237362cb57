"""Options of methods, tasks and other members: dataclass fields that say in one sentence what they are."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(default: Any, sentence: str) -> Any:
    """A dataclass field with a default and one plain sentence about it, shown by `edgewise list method NAME`."""
    return field(default=default, metadata={"help": sentence})
