"""All methods by name, and the one road to what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from edgewise.attribution import ATTRIBUTIONS
from edgewise.contract import Found, Method
from edgewise.errors import InvalidValue, UnknownName
from edgewise.pruning import PRUNINGS, SCORINGS
from edgewise.request import Request
from edgewise.search import SEARCHES

METHODS: dict[str, type[Method]] = {**ATTRIBUTIONS, **SEARCHES, **PRUNINGS, **SCORINGS}


def run_method(method: Method, request: Request) -> Found:
    """What a method finds of what `request.wanted` asks for; InvalidValue, before anything is computed, if it cannot."""
    method.refuse(request.wanted)
    return method.run(request)


def method(name: str | Method, options: Mapping[str, Any]) -> Method:
    """The method of that name with its options, or the method itself. Unknown options are refused by name."""
    if isinstance(name, Method):
        if options:
            raise InvalidValue(f"options {sorted(options)} beside a method that is already made")
        return name
    chosen = method_class(name)
    known = option_names(name)
    for option in options:
        if option not in known:
            raise InvalidValue(
                f"the method {chosen.name} has no option {option!r}; it has: {', '.join(known) or 'none'}"
            )
    return chosen(**options)


def swept_method(name: str, options: Mapping[str, Any]) -> tuple[Method, tuple[float, ...] | None]:
    """The method of that name, and the values of its size option where the options hold a list of them; each is checked."""
    dial = method_class(name).dial
    values = options.get(dial) if dial is not None else None
    if dial is None or not isinstance(values, list | tuple):
        return method(name, options), None
    if not values:
        raise InvalidValue(f"a sweep of {method_class(name).name} needs at least one value of {dial}")
    variants = [method(name, {**options, dial: value}) for value in values]
    return variants[0], tuple(values)


def method_class(name: str) -> type[Method]:
    """The class of the method of that name; UnknownName, with the nearest known one, if there is none."""
    key = str(name).replace("_", "-")
    if key not in METHODS:
        raise UnknownName.of("method", name, METHODS)
    return METHODS[key]


def option_names(name: str) -> list[str]:
    """The names of a method's options."""
    return [field.name for field in fields(method_class(name))]  # type: ignore[arg-type]
