"""Arguments of public verbs: one sentence says what was expected and what was given, before anything is computed.

Sizes of circuits, which many of them take, are read here too: a number, or a share of all as text, such as "10%".
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from edgewise import option_types
from edgewise.errors import InvalidValue

# How many edges, nodes or neurons: a number, or a share of all of them as text.
Size = int | float | str
SHARE_OF_ALL = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?%")

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
        return option_types.checked(kind, value)
    except (ValueError, TypeError):
        expected = OWN_TYPES.get(getattr(kind, "__name__", "")) or option_types.expected(kind)
        plain = isinstance(value, int | float | str | list | None)
        shown = f"{value!r:.40}" if plain else f"a {type(value).__name__}"
        raise InvalidValue(f"{what} must be {expected}, not {shown}") from None


# -- sizes ------------------------------------------------------------------------------------------------------------


def share_in(text: Any) -> float | None:
    """The share that a text such as "10%" names, above 0 and at most 1; None for everything else."""
    found = SHARE_OF_ALL.fullmatch(text.strip()) if isinstance(text, str) else None
    share = None if found is None else float(found[1]) / 100
    return share if share is not None and 0 < share <= 1 else None


def checked_size(size: Any, level: str = "edges") -> int | str:
    """The size as a whole number of at least 1, or as the text of a share; InvalidValue for everything else."""
    if share_in(size) is not None:
        return str(size)
    number = _whole_number(size)
    if number is None or number < 1:
        raise _no_size(size, number, level, "; give 1 or more")
    return number


def count_of(size: Any, total: int, level: str = "edges", *, least: int = 1) -> int:
    """How many of `total` edges, nodes or neurons a size is: a share is rounded, and one at least.

    InvalidValue for what is no size, and for less than `least` or more than there are.
    """
    if (share := share_in(size)) is not None:
        return max(1, round(share * total))
    number = _whole_number(size)
    if number is None or not least <= number <= total:
        has = f", but the graph has {total:,}{' heads and MLPs' if level == 'nodes' else ''}; give {least} to {total:,}"
        raise _no_size(size, number, level, has)
    return number


def _whole_number(size: Any) -> int | None:
    try:
        return option_types.checked(int, size)
    except ValueError:
        return None


def _no_size(size: Any, number: int | None, level: str, has: str) -> InvalidValue:
    """The one refusal of a size, whoever was given it."""
    shown = f"{size!r:.40}" if number is None else f"{number:,}"
    return InvalidValue(f"asked for {shown} {level}{has}, or a share of all, such as '10%'")
