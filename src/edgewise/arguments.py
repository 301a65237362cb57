"""Arguments of public verbs: one sentence says what was expected and what was given, before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from edgewise import option_types
from edgewise.errors import InvalidValue, PairsError

P = ParamSpec("P")
R = TypeVar("R")

# What an argument of one of our own types is, and where it comes from.
OWN_TYPES = {
    "Subject": "a Subject, which edgewise.load(model) gives",
    "Pairs": "Pairs, which a task or Pairs.from_prompts gives",
    "Circuit": "a Circuit",
    "Scores": "Scores, which edgewise.attribute gives",
    "Track": "a Track, such as edgewise.progress.silent",
}


def typed(verb: Callable[P, R]) -> Callable[P, R]:
    """The function, which refuses arguments of another type than it says, with InvalidValue.

    Whole numbers may be written 5.0 and may be numpy's; anything that can be gone through stands for a list, but no text.
    """
    signature = inspect.signature(verb)

    @wraps(verb)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        given, kinds = signature.bind(*args, **kwargs), _kinds(verb)
        for name in given.arguments.keys() & kinds.keys():
            given.arguments[name] = _typed(f"{verb.__name__}: {name}", kinds[name], given.arguments[name])
        return verb(*given.args, **given.kwargs)

    return inside


@cache
def _kinds(verb: Callable[..., Any]) -> Mapping[str, Any]:
    return {name: kind for name, kind in get_type_hints(verb).items() if name != "return"}


def _typed(what: str, kind: Any, value: Any) -> Any:
    takes_list = any(get_origin(one) is Sequence for one in (kind, *get_args(kind)))
    if takes_list and not isinstance(value, str | Mapping | type):
        value = list(value) if isinstance(value, Iterable) else value
    try:
        given = option_types.checked(kind, value)
    except (ValueError, TypeError):
        expected = OWN_TYPES.get(getattr(kind, "__name__", "")) or option_types.expected(kind)
        plain = isinstance(value, int | float | str | list | None)
        shown = f"{value!r:.40}" if plain else f"a {type(value).__name__}"
        raise InvalidValue(f"{what} must be {expected}, not {shown}") from None
    if getattr(kind, "__name__", "") == "Pairs" and not len(given):
        raise PairsError(f"{what}: there are no pairs; give one at least")
    return given
