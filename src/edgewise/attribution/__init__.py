"""Attribution methods: a score for every edge at once."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from edgewise.attribution.base import Method, Request
from edgewise.attribution.eap import EAP
from edgewise.attribution.exact import Exact
from edgewise.attribution.random import Random
from edgewise.errors import InvalidValue, UnknownName

METHODS: dict[str, type[Method]] = {method.name: method for method in (EAP, Exact, Random)}


def method(name: str | Method, options: dict[str, Any]) -> Method:
    """The method of that name with its options, or the Method itself. Unknown options are refused by name."""
    if isinstance(name, Method):
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


__all__ = ["METHODS", "Method", "Request", "method"]
