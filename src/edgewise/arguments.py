"""Arguments of public verbs: one sentence says what was expected and what was given, before anything is computed.

Sizes of circuits, which many of them take, are read here too: a number, or a share of all as text, such as "10%".
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from types import UnionType
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from edgewise import option_types
from edgewise.errors import EdgewiseError, InvalidValue, PairsError

# How many edges, nodes or neurons: a number, or a share of all of them as text.
Size = Annotated[int | float | str, "a number, or a share of all such as '10%'"]
SHARE_OF_ALL = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?%")

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# What an argument of one of our own types is, and where it comes from.
OWN_TYPES = {
    "Subject": "a Subject, which edgewise.load(model) gives",
    "Pairs": "Pairs, which a task or Pairs.from_prompts gives",
    "Circuit": "a Circuit",
    "Scores": "Scores, which edgewise.attribute gives",
    "Graph": "a Graph, such as subject.graph",
    "Tensor": "a tensor",
    "Recipe": "a Recipe",
    "Decoder": "a tokenizer, such as subject.tokenizer",
    "Tokenizer": "a tokenizer, such as subject.tokenizer",
    "Family": "an edgewise.Family",
    "Track": "a Track, such as edgewise.progress.silent",
}


def typed(verb: Callable[P, R]) -> Callable[P, R]:
    """The function, which refuses arguments of another type than it says, with InvalidValue.

    Whole numbers may be written 5.0 and may be numpy's; anything that can be gone through stands for a list, but no text.
    """
    checked = _arguments_of(verb)

    @wraps(verb)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        given = checked(args, kwargs)
        return verb(*given.args, **given.kwargs)

    return inside


def _arguments_of(verb: Callable[..., Any]) -> Callable[[Any, Any], inspect.BoundArguments]:
    """What binds the arguments of a call, and refuses those of another type than the function says."""
    signature = inspect.signature(verb)
    name = verb.__qualname__.removesuffix(".__init__")

    def checked(args: Any, kwargs: Any) -> inspect.BoundArguments:
        given, kinds = signature.bind(*args, **kwargs), _kinds(verb)
        for argument in given.arguments.keys() & kinds.keys():
            what, kind, value = f"{name}: {argument}", kinds[argument], given.arguments[argument]
            several = signature.parameters[argument].kind is inspect.Parameter.VAR_POSITIONAL
            given.arguments[argument] = (
                tuple(checked_argument(what, kind, one) for one in value)
                if several
                else checked_argument(what, kind, value)
            )
        return given

    return checked


def explained(verb: Callable[P, R]) -> Callable[P, R]:
    """The function, whose failures on an argument of another type than it says are that sentence; it costs nothing else."""
    checked = _arguments_of(verb)

    @wraps(verb)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return verb(*args, **kwargs)
        except EdgewiseError:
            raise
        except Exception:
            checked(args, kwargs)
            raise

    return inside


def typed_methods(kind: type[T]) -> type[T]:
    """The class, whose constructor and public methods refuse arguments of another type than they say."""
    return _wrapped(kind, typed)


def explained_methods(kind: type[T]) -> type[T]:
    """The same of a class whose methods are on the way of every edge: they are `explained`."""
    return _wrapped(kind, explained)


def _wrapped(kind: type[T], way: Callable[[Callable[..., Any]], Callable[..., Any]]) -> type[T]:
    for name, member in list(vars(kind).items()):
        if name == "__init__":
            setattr(kind, name, typed(member))
        elif not name.startswith("_") and isinstance(member, classmethod | staticmethod):
            setattr(kind, name, type(member)(way(member.__func__)))
        elif not name.startswith("_") and inspect.isfunction(member):
            setattr(kind, name, way(member))
    return kind


@cache
def _kinds(verb: Callable[..., Any]) -> Mapping[str, Any]:
    """The types of a function's parameters; what they name may be known to type checkers alone, and then is not checked."""
    bare = inspect.unwrap(verb)
    try:
        found = get_type_hints(bare, include_extras=True)
    except NameError:
        found = {name: _resolved(hint, bare) for name, hint in inspect.get_annotations(bare).items()}
    return {name: kind for name, kind in found.items() if name != "return"}


def _resolved(hint: Any, verb: Callable[..., Any]) -> Any:
    named = sys.modules[verb.__module__].__dict__
    try:
        holder = type("_", (), {"__annotations__": {"one": hint}})
        return get_type_hints(holder, globalns=named, include_extras=True)["one"]
    except NameError:
        return Any


def checked_argument(what: str, kind: Any, value: Any) -> Any:
    """The value as one of this type, and what an argument must be in words where it is none: InvalidValue."""
    takes_list = any(get_origin(one) is Sequence for one in (kind, *get_args(kind)))
    given = value
    try:
        if takes_list and isinstance(value, Iterable) and not isinstance(value, str | Mapping | type):
            value = list(value)
        found = option_types.checked(kind, value)
    except (ValueError, TypeError):
        expected = _in_words(kind)
        plain = isinstance(given, int | float | str | list | None)
        shown = f"{given!r:.40}" if plain else f"a {type(given).__name__}"
        raise InvalidValue(f"{what} must be {expected}, not {shown}") from None
    if type(found).__name__ == "Pairs" and not len(found):
        raise PairsError(f"{what}: there are no pairs; give one at least")
    return found


def _in_words(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_in_words(member) for member in get_args(kind))
    return OWN_TYPES.get(getattr(kind, "__name__", "")) or option_types.expected(kind)


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


def checked_faithfulness(share: Any) -> float:
    """The share of a behaviour that a circuit is to keep, above 0 and at most 1; InvalidValue for everything else."""
    try:
        number = float(option_types.checked(float, share))
    except ValueError:
        number = None
    if number is None or not 0 < number <= 1:
        raise InvalidValue(
            f"faithfulness {share!r:.40}: give the share of the behaviour to keep, above 0 and at most 1, such as 0.85"
        )
    return number


def refuse_empty_batch(size: int) -> None:
    """InvalidValue unless at least one pair runs at once."""
    if size < 1:
        raise InvalidValue(f"batch size {size}: it must be at least 1")


def _whole_number(size: Any) -> int | None:
    try:
        return option_types.checked(int, size)
    except ValueError:
        return None


def _no_size(size: Any, number: int | None, level: str, has: str) -> InvalidValue:
    """The one refusal of a size, whoever was given it."""
    shown = f"{size!r:.40}" if number is None else f"{number:,}"
    return InvalidValue(f"asked for {shown} {level}{has}, or a share of all, such as '10%'")
