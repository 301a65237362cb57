"""All methods by name, whether they score edges or search for a circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from edgewise.attribution import ATTRIBUTIONS, Method
from edgewise.errors import InvalidValue, UnknownName
from edgewise.pruning import PRUNINGS, SCORINGS
from edgewise.search import SEARCHES, Search

METHODS: dict[str, type[Method] | type[Search]] = {**ATTRIBUTIONS, **SEARCHES, **PRUNINGS, **SCORINGS}


def method(name: str | Method | Search, options: dict[str, Any]) -> Method | Search:
    """The method of that name with its options, or the method itself. Unknown options are refused by name."""
    if isinstance(name, (Method, Search)):
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


def method_class(name: str) -> type[Method] | type[Search]:
    """The class of the method of that name; UnknownName, with the nearest known one, if there is none."""
    key = str(name).replace("_", "-")
    if key not in METHODS:
        raise UnknownName.of("method", name, METHODS)
    return METHODS[key]


def option_names(name: str) -> list[str]:
    """The names of a method's options."""
    return [field.name for field in fields(method_class(name))]  # type: ignore[arg-type]


def sweep_values(name: str, options: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The values of a search's dial, where the options hold a list of them instead of one; each is checked."""
    chosen = method_class(name)
    values = options.get(chosen.dial) if issubclass(chosen, Search) else None
    if not isinstance(values, list | tuple) or not issubclass(chosen, Search):
        return None
    if not values:
        raise InvalidValue(f"a sweep of {chosen.name} needs at least one value of {chosen.dial}")
    for value in values:
        method(name, {**options, chosen.dial: value})
    return tuple(values)
