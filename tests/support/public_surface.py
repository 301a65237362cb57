"""The public surface, as it is found: every callable of the public names, and every public method of their classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import edgewise as ew
from edgewise import comparison, evaluation, formats
from edgewise.comparison import CompareRecipe
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run
from edgewise.tasks import Task

# What a family of models declares: its fields are checked one by one (models/declaration.py), and its methods are called by
# edgewise alone. So are those of a Subject that the engine runs it by.
DECLARATIONS = {"Family", "FusedBlocks", "FusedHeads", "Separate", "NormKind"}
OF_THE_ENGINE = {"Subject": {"hold_to", "ready", "input_hooks", "inputs", "context"}}
# Errors are raised, not called, and a context of ranks takes nothing.
NO_ARGUMENTS = {"EdgewiseError", "distributed"}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Name → function, of all that may be called without an object of ours; those of a class come after its constructor."""
    public = {name: getattr(ew, name) for name in ew.__all__ if name not in DECLARATIONS | NO_ARGUMENTS}
    public |= {"Task": Task, "run": run, "Recipe.of": Recipe.of, "Recipe.read": Recipe.read}
    public |= {"CompareRecipe.of": CompareRecipe.of}
    for module in (evaluation, formats, comparison):
        public |= {name: getattr(module, name) for name in module.__all__}
    for name, member in sorted(public.items()):
        if isinstance(member, type) and member.__module__.startswith("edgewise.") and name in ew.__all__:
            yield name, member
            for part, raw in vars(member).items():
                if not part.startswith("_") and isinstance(raw, classmethod | staticmethod):
                    yield f"{name}.{part}", getattr(member, part)
        elif not isinstance(member, type) and callable(member):
            yield name, member


def methods(kind: type) -> Iterator[str]:
    """The names of the public methods of a class that take something."""
    for name, raw in vars(kind).items():
        if name in OF_THE_ENGINE.get(kind.__name__, ()):
            continue
        if not name.startswith("_") and inspect.isfunction(raw) and len(inspect.signature(raw).parameters) > 1:
            yield name


def named_parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    every = inspect.signature(function).parameters.values()
    return [one for one in every if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
