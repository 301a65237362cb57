"""All methods by name, whether they score edges or search for a circuit."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from edgewise.attribution import METHODS as ATTRIBUTIONS
from edgewise.attribution import Method
from edgewise.errors import InvalidValue, UnknownName
from edgewise.pruning import PRUNINGS
from edgewise.search import SEARCHES, Search

METHODS: dict[str, type[Method] | type[Search]] = {**ATTRIBUTIONS, **SEARCHES, **PRUNINGS}


def method(name: str | Method | Search, options: dict[str, Any]) -> Method | Search:
    """The method of that name with its options, or the method itself. Unknown options are refused by name."""
    if isinstance(name, (Method, Search)):
        if options:
            raise InvalidValue(f"options {sorted(options)} beside a method that is already made")
        return name
    key = str(name).replace("_", "-")
    if key not in METHODS:
        raise UnknownName.of("method", name, METHODS)
    known = [f.name for f in fields(METHODS[key])]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            raise InvalidValue(f"the method {key} has no option {option!r}; it has: {', '.join(known) or 'none'}")
    return METHODS[key](**options)
