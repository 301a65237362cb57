"""The types of options: values and texts of each, and how it is said in words. ValueError stands for what does not fit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

TRUTH_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    Mapping: "a mapping",
    dict: "a mapping",
    Iterable: "something to go through",
    Callable: "a function",
    os.PathLike: "a path",
    NoneType: "none",
}

# -- values -----------------------------------------------------------------------------------------------------------


def checked(kind: Any, value: Any) -> Any:
    """The value as one of this type; a whole number may be written 5.0, and a path is text."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return checked(inner[0], value)
    if origin in (Union, UnionType):
        return _first(
            [
                lambda member=member: checked(member, value)
                for member in sorted(inner, key=lambda k: k is not type(value))
            ]
        )
    if origin is Literal:
        return _first([lambda member=member: _same(member, value) for member in inner])
    if origin in (list, tuple, Sequence):
        if not isinstance(value, list | tuple):
            raise ValueError
        return _gathered(kind, [checked(one, part) for one, part in _parts(kind, value)])
    if kind in CHECKS:
        return CHECKS[kind](value)
    if kind is not Any and not isinstance(value, origin or kind):
        raise ValueError
    if isinstance(value, type) and getattr(kind, "_is_protocol", False):
        raise ValueError  # a class has the methods that its objects have
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value).is_integer():
        raise ValueError
    return int(float(value))


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError
    if type(value) in (int, float):
        return value  # type: ignore[return-value]
    return int(value) if isinstance(value, Integral) else float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str | os.PathLike):
        raise ValueError
    return str(os.fspath(value))


def _none(value: Any) -> None:
    if value is not None:
        raise ValueError


CHECKS: dict[Any, Any] = {
    bool: _boolean,
    int: _whole,
    float: _number,
    str: _text,
    Path: lambda value: Path(_text(value)),
    NoneType: _none,
}


# -- text -------------------------------------------------------------------------------------------------------------


def parsed(kind: Any, text: str) -> Any:
    """What the text stands for as one of this type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return parsed(inner[0], text)
    if origin in (Union, UnionType):
        # Every text is text: what else it may be comes first.
        return _first(
            [
                lambda member=member: parsed(member, text)
                for member in sorted(inner, key=lambda k: (k is str, k is not NoneType))
            ]
        )
    if origin is Literal:
        return _first([lambda member=member: _same(str(member), _unquoted(text)) and member for member in inner])
    if origin in (list, tuple, Sequence):
        return _gathered(kind, [parsed(one, part) for one, part in _parts(kind, split(text))])
    return _first([lambda read=read: read(text) for read in READ.get(kind, ())])


def split(text: str) -> list[str]:
    """The parts of a list: between commas, with or without brackets around."""
    inner = text.strip().removeprefix("[").removesuffix("]")
    return [part.strip() for part in inner.split(",")] if inner.strip() else []


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


# The ways to read a text, of which the first that can does.
READ: dict[Any, tuple[Callable[[str], Any], ...]] = {
    bool: (lambda text: TRUTH_WORDS[text.lower()],),
    int: (int, lambda text: _whole(float(text))),
    float: (int, float),
    str: (_unquoted,),
    Path: (lambda text: Path(_unquoted(text)),),
    NoneType: (lambda text: {"none": None, "null": None}[text.lower()],),
    Any: (json.loads, str),
}


# -- types ------------------------------------------------------------------------------------------------------------


def words(kind: Any) -> str:
    """The type as it is shown in a table: "float", "signed | absolute", "list of int"; that it may be none is left out."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return words(inner[0])
    if origin in (Union, UnionType, Literal):
        return " | ".join(
            str(member) if origin is Literal else words(member) for member in inner if member is not NoneType
        )
    if origin in (list, tuple, Sequence):
        return f"list of {words(inner[0])}"
    return {Path: "path", Any: "any", str: "text"}.get(kind, getattr(kind, "__name__", str(kind)))


def expected(kind: Any) -> str:
    """The type as it is said after "must be"."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return next((word for word in inner[1:] if isinstance(word, str)), expected(inner[0]))
    if origin in (Union, UnionType):
        return " or ".join("none" if member is NoneType else expected(member) for member in inner)
    if origin is Literal:
        *first, last = [repr(member) for member in inner]
        return f"{', '.join(first)} or {last}" if first else last
    if origin in (list, tuple, Sequence):
        return f"a list, each {expected(inner[0])}"
    return EXPECTED.get(origin or kind, words(kind))


def choices(kind: Any) -> tuple[Any, ...]:
    """The values there are to choose from, of a Literal, or of one beside None."""
    one_of = (member for member in (kind, *get_args(kind)) if get_origin(member) is Literal)
    return tuple(value for member in one_of for value in get_args(member))


def _parts(kind: Any, values: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Each value with the type it must be of; ValueError if a tuple has another length."""
    inner = get_args(kind)
    if get_origin(kind) is tuple and inner[-1] is not Ellipsis:
        return list(zip(inner, values, strict=True))
    return [(inner[0], value) for value in values]


def _gathered(kind: Any, values: list[Any]) -> Any:
    return values if get_origin(kind) is list else tuple(values)


def _same(choice: Any, value: Any) -> Any:
    if type(choice) is not type(value) or choice != value:
        raise ValueError
    return choice


def _first(ways: Sequence[Any]) -> Any:
    """What the first of these ways gives that gives anything; ValueError if none does."""
    for way in ways:
        try:
            return way()
        except (ValueError, KeyError):
            continue
    raise ValueError
