"""JSON as files hold it, read with suspicion: no key twice, no number that is none, nothing nested without end."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

from edgewise.errors import FileError

# What people and edgewise write is nested ten deep; what walks through a value must not run out of stack.
MOST_NESTED = 100
TOO_DEEP = f"it is nested more than {MOST_NESTED} deep"
# What becomes of NaN and infinite numbers, as Python writes them: "finite" refuses them, "any" lets them through, and
# "unscored" reads NaN as None: what was never scored in files of other tools.
Numbers = Literal["finite", "any", "unscored"]


def parse(data: bytes, name: str, *, numbers: Numbers = "finite") -> dict[str, Any]:
    """The JSON object in `data`; FileError, with `name`, if it is empty, truncated or not JSON."""
    if not data.strip():
        raise FileError(f"{name} is empty")
    value = value_in(data, name, numbers=numbers)
    if not isinstance(value, dict):
        raise FileError(f"{name} holds a JSON {type(value).__name__}, not an object")
    return value


def value_in(text: bytes | str, place: str, *, numbers: Numbers = "finite") -> Any:
    """The JSON value in a text; FileError, with its `place`, for what is none or holds a key twice in one object."""
    try:
        return loaded(text, numbers=numbers)
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"):
            raise FileError(f"{place} is truncated: it ends in the middle of its JSON") from None
        raise FileError(f"{place} is not JSON: {error.msg} in line {error.lineno}") from None
    except UnicodeDecodeError:
        raise FileError(f"{place} is not JSON: it is not UTF-8 text") from None
    except ValueError as error:
        raise FileError(f"{place} is not usable JSON: {error}") from None


def loaded(text: bytes | str, *, numbers: Numbers = "finite") -> Any:
    """The JSON value in a text; ValueError for what is none."""
    constants = {"finite": _refused, "unscored": _none_for_nan, "any": float}
    suspicious: dict[str, Any] = {} if numbers == "any" else {"parse_float": _finite}
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=constants[numbers], **suspicious)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    level = [value]
    for _ in range(MOST_NESTED):
        level = [part for inner in level for part in _parts(inner) if isinstance(part, dict | list)]
        if not level:
            return value
    raise ValueError(TOO_DEEP)


def _parts(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice[:60]!r} is in one object twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:60]} is too large for a number")
    return number


def _none_for_nan(token: str) -> None:
    if token != "NaN":
        _refused(token)


def _refused(token: str) -> None:
    raise ValueError(f"{token} is not a JSON number")
