"""Arguments of public verbs: one sentence says what was expected and what was given, before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from edgewise import option_types
from edgewise.errors import InvalidValue

P = ParamSpec("P")
R = TypeVar("R")

# What an argument of one of our own types is, and where it comes from.
OWN_TYPES = {
    "Subject": "a Subject, which edgewise.load(model) gives",
    "Pairs": "Pairs, which a task or Pairs.from_prompts gives",
    "Circuit": "a Circuit",
    "Scores": "Scores, which edgewise.attribute gives",
    "Graph": "a Graph, which subject.graph is",
}
PLAIN_TYPES = (int, float, bool, NoneType)
# Things that are called, or made to work, whatever their class.
USED = {
    "Track": (
        "a Track, such as edgewise.progress.silent",
        lambda value: callable(value) and not isinstance(value, type),
    ),
    "Executor": ("an executor of concurrent.futures", lambda value: hasattr(value, "submit")),
}


def checked(verb: Callable[P, R]) -> Callable[P, R]:
    """The function, which refuses arguments of another type: numbers, words, choices, lists, and our own types.

    Whole numbers may be written 5.0, and may be numpy's. InvalidValue otherwise.
    """
    signature = inspect.signature(verb)

    @wraps(verb)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        kinds = _kinds(verb)
        for name in given.arguments.keys() & kinds.keys():
            given.arguments[name] = _checked(verb.__name__, name, kinds[name], given.arguments[name])
        return verb(*given.args, **given.kwargs)

    return inside


@cache
def _kinds(verb: Callable[..., Any]) -> Mapping[str, Any]:
    """The types of those arguments that are checked here."""
    return {name: kind for name, kind in get_type_hints(verb).items() if name != "return" and _is_checked(kind)}


def _is_checked(kind: Any) -> bool:
    return all(
        one in (*PLAIN_TYPES, str) or get_origin(one) in (Literal, Sequence) or _name(one) in OWN_TYPES | USED
        for one in _members(kind)
    )


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", "")


def _checked(verb: str, name: str, kind: Any, value: Any) -> Any:
    if value is None and NoneType in _members(kind):
        return None
    lists = [one for one in _members(kind) if get_origin(one) is Sequence]
    rest = tuple(one for one in _members(kind) if get_origin(one) is not Sequence)
    if lists and not (rest and isinstance(value, int)):
        return _listed(verb, name, get_args(lists[0])[0], value)
    for one in _members(kind):
        expected, fits = USED.get(_name(one), ("", None))
        if fits is not None:
            if fits(value):
                return value
            raise InvalidValue(f"{verb}: {name} must be {expected}, not {_shown(value)}")
    try:
        return option_types.checked(kind, value)
    except (ValueError, TypeError):
        expected = OWN_TYPES.get(_name(kind)) or option_types.expected(kind)
        raise InvalidValue(f"{verb}: {name} must be {expected}, not {_shown(value)}") from None


def _listed(verb: str, name: str, inner: Any, value: Any) -> Sequence[Any]:
    if isinstance(value, str | Mapping) or not _is_iterable(value):
        raise InvalidValue(f"{verb}: {name} must be a list, not {_shown(value)}")
    return [_checked(verb, f"each of {name}", inner, one) if _is_checked(inner) else one for one in value]


def _is_iterable(value: Any) -> bool:
    try:
        iter(value)
    except TypeError:
        return False
    return not isinstance(value, type)


def _shown(value: Any) -> str:
    return f"{value!r:.40}" if isinstance(value, int | float | str | NoneType) else f"a {type(value).__name__}"
