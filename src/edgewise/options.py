"""Options of methods and other members: dataclass fields that say in one sentence what they are and take one type only.

    tau: float = option(0.01, "the change of the metric from which on an edge is kept")

The annotation is the contract: a value is checked against it (`checked`), and text from a command line is read by it
(`parsed`). It may be bool, int, float, str, Path, a Literal, None beside one of these, or a list or tuple of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, final, get_type_hints

from edgewise import option_types
from edgewise.errors import InvalidValue

# The default of an option that has none.
REQUIRED = MISSING


# The unit of an option that is a number of whatever metric the method goes by.
ITS_METRIC = "metric"


def option(default: Any, sentence: str, *, unit: str = "") -> Any:
    """A dataclass field that is an option: its default, and one plain sentence about it.

    `default`: the default value.
    `sentence`: what the option does; `edgewise list method NAME` shows it.
    `unit`: what says which metric the number is in: "metric", the one that the method goes by, or the name of another option
    of the method that names one; empty for what is in no units of a metric.
    """
    told = {"help": sentence, "unit": unit}
    if isinstance(default, list | dict | set):
        return field(default_factory=default.copy, metadata=told)
    return field(default=default, metadata=told)


@final
@dataclass(frozen=True)
class Option:
    """One option: its name, the annotated type, the default, and the sentence about it (empty if there is none).

    `unit`: what names the metric that the number is in, as in `option`.
    """

    name: str
    kind: Any
    default: Any
    sentence: str
    unit: str = ""

    @property
    def type(self) -> str:
        """The type in plain words: "float", "signed | absolute", "list of int"; that it may be none is left out."""
        return option_types.words(self.kind)

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values there are to choose from, of a Literal."""
        return option_types.choices(self.kind)

    def checked(self, value: Any, owner: str) -> Any:
        """The value, if it is of the type; a whole number may be written 5.0. InvalidValue otherwise."""
        try:
            return option_types.checked(self.kind, value)
        except ValueError:
            raise self._refusal(value, owner) from None

    def parsed(self, text: str, owner: str) -> Any:
        """The value that a text from the command line stands for; InvalidValue if it stands for none of this type."""
        try:
            return option_types.parsed(self.kind, text.strip())
        except ValueError:
            raise self._refusal(text, owner) from None

    def _refusal(self, value: Any, owner: str) -> InvalidValue:
        near = difflib.get_close_matches(str(value), [str(choice) for choice in self.choices], n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return InvalidValue(f"{owner}: {self.name} must be {option_types.expected(self.kind)}, not {value!r}{hint}")


@cache
def options_of(member: type) -> Mapping[str, Option]:
    """The options of a class by name, in the order of its fields; InvalidValue if their types cannot be read."""
    if not is_dataclass(member):
        return {}
    try:
        kinds = get_type_hints(member, include_extras=True)
    except Exception as error:  # whatever an annotation of somebody else may raise
        raise InvalidValue(f"the types of the options of {member.__name__} cannot be read: {error}") from None
    found: dict[str, Option] = {}
    for one in (one for one in fields(member) if one.init):
        default = one.default if one.default_factory is MISSING else one.default_factory()
        found[one.name] = Option(
            one.name, kinds[one.name], default, *(str(one.metadata.get(key, "")) for key in ("help", "unit"))
        )
    return found


def checked(member: type, values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """The values of options of a member, each checked by its type; InvalidValue for others, and if one is missing.

    `owner` is what the member is called in a message.
    """
    known = options_of(member)
    for name in values:
        require(known, name, owner)
    if missing := [name for name, one in known.items() if one.default is REQUIRED and name not in values]:
        raise InvalidValue(f"the method {owner} needs a value for its option {missing[0]!r}")
    return {name: known[name].checked(value, owner) for name, value in values.items()}


def require(known: Mapping[str, Option], name: str, owner: str) -> Option:
    """The option of that name; InvalidValue, with those there are, if there is none."""
    if name not in known:
        raise InvalidValue(f"the method {owner} has no option {name!r}; it has: {', '.join(known) or 'none'}")
    return known[name]
