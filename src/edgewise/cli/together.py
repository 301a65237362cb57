"""A command that several processes do together, started by `torchrun`; torch is imported only where there are several."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from edgewise.errors import EdgewiseError

P = ParamSpec("P")
R = TypeVar("R")


def together(command: Callable[P, R]) -> Callable[P, R]:
    """The command, done by all processes that `torchrun` started, each its share; the first of them writes and tells."""

    @functools.wraps(command)
    def shared(*args: P.args, **kwargs: P.kwargs) -> R:
        if "WORLD_SIZE" not in os.environ:
            return command(*args, **kwargs)
        from edgewise.rank_group import distributed, started_together

        if not started_together():
            return command(*args, **kwargs)
        with distributed() as ranks:
            try:
                return command(*args, **kwargs)
            except EdgewiseError as error:
                ranks.say(error)
                if ranks.repeats(error):
                    raise typer.Exit(2) from None
                raise error if ranks.first else type(error)(f"rank {ranks.number}: {error}") from None

    return shared


def silenced() -> bool:
    """Whether another rank tells what is going on."""
    if "WORLD_SIZE" not in os.environ:
        return False
    from edgewise.ranks import current

    return not current().first
