"""Whether a family's declaration can be right by itself: each refusal names the field. Beside a model: family_fit.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from edgewise.errors import InvalidValue
from edgewise.models.norms import NormKind
from edgewise.models.projections import Projections

# Paths that may be empty are those of parts that a class need not have.
PATHS = ("blocks", "final_norm", "attention", "output")
OPTIONAL_PATHS = ("attention_norm", "mlp_norm", "parallel_norm", "attention_post", "mlp_post")


def check_fields(declared: Mapping[str, Any]) -> None:
    """Refuse a declaration one of whose fields cannot be right, whatever the model. Raises InvalidValue."""
    name = declared["name"]
    for fields, fits, expected in _KINDS:
        for field in fields:
            if not fits(declared[field]):
                raise InvalidValue(f"family {name!r}: {field}={declared[field]!r} must be {expected}")
    layout, names = declared["projections"], declared["projection_names"]
    count = len(layout.layout(1, 1))
    if len(names) != count:
        raise InvalidValue(
            f"family {name!r}: projection_names={names!r} must be {count} "
            f"name{'s' * (count > 1)}, since projections={layout.__name__}"
        )


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_path, value))


def _is_layout(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Projections) and not inspect.isabstract(value)


def _are_values(value: Any) -> bool:
    """A tuple of values for each attribute."""
    if not isinstance(value, Mapping):
        return False
    return all(_is_path(name) and isinstance(allowed, tuple) and allowed for name, allowed in value.items())


def _are_twins(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_path(name) and _is_path(other) for name, other in value.items())


_Kind = tuple[tuple[str, ...], Callable[[Any], bool], str]
_KINDS: tuple[_Kind, ...] = (
    (("name",), _is_path, "a word"),
    (("architectures",), lambda value: _are_names(value) and value, "a tuple of one class name or more"),
    (PATHS, _is_path, "the path of a module, as in 'model.layers'"),
    (OPTIONAL_PATHS, lambda value: isinstance(value, str), "the path of a module, or empty"),
    (
        ("mlp",),
        lambda value: _is_path(value) or (_are_names(value) and value),
        "the path of a module, or a tuple of paths",
    ),
    (
        ("multiplier", "logit_cap", "logit_divisor", "part"),
        lambda value: isinstance(value, str),
        "the name of an attribute, or empty",
    ),
    (("equal",), _are_twins, "a mapping from config attributes to config attributes"),
    (("projections",), _is_layout, "a layout: Separate, FusedBlocks, FusedHeads, or a class made like these"),
    (("projection_names", "inputs", "native", "counts"), _are_names, "a tuple of names"),
    (("norm",), lambda value: isinstance(value, NormKind), f"one of {', '.join(map(str, NormKind))}"),
    (("exact",), lambda value: isinstance(value, str), "a text"),
    (("handled",), _are_values, "a mapping from config attributes to tuples of the values they may have"),
    (("parallel",), lambda value: isinstance(value, (str, bool)), "the name of a config attribute, or True or False"),
)
