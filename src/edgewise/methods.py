"""All methods by name, and the one road to what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from edgewise.attribution import ATTRIBUTIONS
from edgewise.attribution.constant_metric import refuse_constant, refuse_rounding
from edgewise.attribution.memory import within_memory
from edgewise.contract import Found, Method
from edgewise.errors import InvalidValue, NothingScored
from edgewise.option_types import split
from edgewise.options import checked, options_of, require
from edgewise.plugins import Members, given, inside
from edgewise.provenance import versions
from edgewise.pruning import PRUNINGS, SCORINGS
from edgewise.pruning.base import Pruning
from edgewise.ranks import current
from edgewise.request import LOCAL, Request
from edgewise.search import SEARCHES


def _facts(method: Method, request: Request) -> dict[str, Any]:
    """What has to be the same on every rank, in words."""
    options = {name: value for name, value in asdict(method).items() if name not in LOCAL}  # type: ignore[call-overload]
    return {
        "version": versions(),
        "method": (method.name, options),
        "model": request.subject.identity,
        "data": request.pairs.fingerprint,
        "metric": request.metric.name,
        "ablation": request.ablation.key,
        "batch size": request.batch_size,
        "question": request.wanted,
    }


def _checked(member: Any) -> type[Method]:
    if not (isinstance(member, type) and issubclass(member, Method) and is_dataclass(member)):
        raise InvalidValue(f"{member!r} is not a dataclass that derives from edgewise.contract.Method")
    if missing := sorted(getattr(member, "__abstractmethods__", ())):
        raise InvalidValue(f"{member.__name__} does not implement {', '.join(missing)}")
    if missing := [word for word in ("name", "summary", "cost") if not isinstance(getattr(member, word, None), str)]:
        raise InvalidValue(f"{member.__name__} has no {', no '.join(missing)}")
    options_of(member)
    return member


METHODS: Members[type[Method]] = Members(
    "method",
    "methods",
    {**ATTRIBUTIONS, **SEARCHES, **PRUNINGS, **SCORINGS},
    _checked,
    spelled=lambda name: name.replace("_", "-"),
)


def run_method(method: Method, request: Request) -> Found:
    """What a method finds of what `request.wanted` asks for; InvalidValue, before anything is computed, if it cannot.

    NothingScored where clean and corrupted prompts are the same, so that no edge can have an effect. Of several ranks each
    is given the same request; RankError if one is not.
    """
    method.refuse(request.wanted)
    if method.replaces:
        request.ablation.require(request.pairs)
        if request.ablation.changes_nothing(request.pairs):
            raise NothingScored(
                f"clean and corrupted prompts are the same in all {len(request.pairs):,} pairs, so that {method.name} has "
                "nothing to replace; give corrupted prompts that differ, or an ablation that needs none, such as zero"
            )
    if current().count > 1:
        current().check_alike(_facts(method, request))
    whose = f"the method {method.name!r}"
    with request.subject.at_work(), within_memory(method, request) as fitting:
        if isinstance(method, Pruning):  # it would train for nothing
            refuse_constant(fitting)
        with inside(whose, method):
            found = method.run(fitting)
        given(whose, found, Found, "Found(scores, circuits)")
        if method.replaces:
            _refuse_rounding(found, fitting)
        return found


def _refuse_rounding(found: Found, request: Request) -> None:
    """NothingScored where scores are rounding, or no edge is kept, because the metric does not change."""
    if not found.circuits and found.scores is not None:
        refuse_rounding(found.scores.values, request)
    elif found.circuits and not any(len(circuit) for circuit in found.circuits):
        refuse_constant(request)


def method(name: str | Method, options: Mapping[str, Any]) -> Method:
    """The method of that name with its options, or the method itself.

    InvalidValue for options that it does not have, and for values that are not of an option's type.
    """
    if isinstance(name, Method):
        if options:
            raise InvalidValue(f"a Method has its own options; leave out {sorted(options)}, or name the method")
        return name
    chosen = method_class(name)
    return chosen(**checked(chosen, options, chosen.name))


def parsed_options(name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """The values that texts from the command line stand for; of the size option also several, with commas between."""
    chosen, values = method_class(name), {}
    for key, text in texts.items():
        wanted = require(options_of(chosen), key, chosen.name)
        several = key == chosen.size_option and ("," in text or text.startswith("["))
        values[key] = (
            [wanted.parsed(part, chosen.name) for part in split(text)] if several else wanted.parsed(text, chosen.name)
        )
    return values


def swept_method(name: str, options: Mapping[str, Any]) -> tuple[Method, tuple[float, ...] | None]:
    """The method of that name, and the values of its size option where the options hold a list of them; each is checked."""
    size_option = method_class(name).size_option
    values = options.get(size_option) if size_option is not None else None
    if size_option is None or not isinstance(values, list | tuple):
        return method(name, options), None
    if not values:
        raise InvalidValue(f"a sweep of {method_class(name).name} needs at least one value of {size_option}")
    variants = [method(name, {**options, size_option: value}) for value in values]
    return variants[0], tuple(values)


def method_class(name: str) -> type[Method]:
    """The class of the method of that name; UnknownName, with the nearest known one, if there is none."""
    return METHODS.named(name)


def option_names(name: str) -> list[str]:
    """The names of a method's options."""
    return list(options_of(method_class(name)))
