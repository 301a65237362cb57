"""Whether a family's declaration can be right, and whether it fits a model: each refusal names the field.

What only numbers can tell (the kind of the norms, which output is which head's, what is called when) is asked by the
self-check, engine/check.py.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from edgewise.errors import InvalidValue, UnsupportedModel
from edgewise.models.configs import text_config
from edgewise.models.norms import NormKind
from edgewise.models.projections import FusedHeads, Projections
from edgewise.models.weights import unreadable

if TYPE_CHECKING:
    from edgewise.models.family import Family

# Paths that may be empty are those of parts that a class need not have.
PATHS = ("blocks", "final_norm", "attention", "output")
OPTIONAL_PATHS = ("attention_norm", "mlp_norm", "parallel_norm", "attention_post", "mlp_post")
SIZES = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")


# -- by itself --------------------------------------------------------------------------------------------------------


def check_fields(family: Family) -> None:
    """Refuse a declaration one of whose fields cannot be right, whatever the model. Raises InvalidValue."""
    for fields, fits, wanted in _KINDS:
        for field in fields:
            value = getattr(family, field)
            if not fits(value):
                raise InvalidValue(f"family {family.name!r}: {field}={value!r} must be {wanted}")
    count = len(family.projections.layout(1, 1))
    if len(family.projection_names) != count:
        raise InvalidValue(
            f"family {family.name!r}: projection_names={family.projection_names!r} must be {count} "
            f"name{'s' * (count > 1)}, since projections={family.projections.__name__}"
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


# -- beside a model ---------------------------------------------------------------------------------------------------


def check_fit(model: Any, family: Family) -> None:
    """Refuse a model in which a field of the family names nothing, or something of another shape. UnsupportedModel."""
    fit = _Fit(model, family)
    fit.sizes()
    blocks = fit.blocks()
    fit.part(model, "the model", "final_norm")
    for number, block in enumerate(blocks):
        fit.block(block, f"{family.blocks}.{number}")


class _Fit:
    """One family beside one model."""

    def __init__(self, model: Any, family: Family) -> None:
        self.model, self.family, self.config = model, family, text_config(model)

    def wrong(self, field: str, problem: str) -> UnsupportedModel:
        """The refusal of a field."""
        value = getattr(self.family, field)
        shown = value.__name__ if isinstance(value, type) else repr(value)
        return UnsupportedModel(
            f"{type(self.model).__name__} as family {self.family.name!r}: {field}={shown} {problem}"
        )

    def sizes(self) -> None:
        """The config has the numbers that a graph is made of."""
        for size in SIZES:
            if not isinstance(getattr(self.config, size, None), int):
                raise UnsupportedModel(
                    f"{type(self.model).__name__}: its config has no number {size}, which edgewise reads there; give "
                    f"{type(self.config).__name__} an attribute of that name"
                )
        parallel = self.family.parallel
        if isinstance(parallel, str) and parallel and not hasattr(self.config, parallel):
            raise self.wrong("parallel", f"is no attribute of {type(self.config).__name__}")
        self.parallel = self.family.is_parallel(self.config)
        self.heads = int(self.config.num_attention_heads)
        self.kv_heads = int(getattr(self.config, "num_key_value_heads", None) or self.heads)
        if self.heads % self.kv_heads:
            raise UnsupportedModel(
                f"{type(self.model).__name__}: config.num_key_value_heads={self.kv_heads} does not divide "
                f"num_attention_heads={self.heads}; is the config that of this model?"
            )

    def blocks(self) -> list[nn.Module]:
        """All blocks, as many as the config says."""
        blocks = self.part(self.model, "the model", "blocks")
        if not isinstance(blocks, (nn.ModuleList, nn.Sequential)):
            raise self.wrong("blocks", f"is a {type(blocks).__name__}, not the list of blocks")
        said = int(self.config.num_hidden_layers)
        if len(blocks) != said:
            raise UnsupportedModel(
                f"{type(self.model).__name__}: config.num_hidden_layers is {said}, but {self.family.blocks} holds "
                f"{len(blocks)} blocks; set config.num_hidden_layers = {len(blocks)} if they are meant to be all"
            )
        return list(blocks)

    def block(self, block: nn.Module, place: str) -> None:
        """Every part of a block is there, with projections of the right shape."""
        attention = self.part(block, place, "attention")
        fields = ["attention_norm", "attention_post", "mlp_post"]
        before_mlp = "parallel_norm" if self.parallel and self.family.parallel_norm else "mlp_norm"
        fields += ["mlp", before_mlp] if getattr(self.config, "mlps", True) else []
        for field in fields:
            paths = getattr(self.family, field)
            for path in (paths,) if isinstance(paths, str) else paths:
                if path:
                    self.module(block, place, field, path)
        inside = f"{place}.{self.family.attention}"
        for name in self.family.counts:
            if not isinstance(getattr(attention, name, None), int):
                raise self.wrong("counts", f"names no number of {inside} ({type(attention).__name__}): {name!r}")
        output = self.part(attention, inside, "output")
        modules = [self.module(attention, inside, "projection_names", name) for name in self.family.projection_names]
        self.shapes(modules, output)

    def part(self, owner: nn.Module, place: str, field: str) -> nn.Module:
        """The module that a field names."""
        return self.module(owner, place, field, getattr(self.family, field))

    def module(self, owner: nn.Module, place: str, field: str, path: str) -> nn.Module:
        """The module at a path that is (part of) a field."""
        try:
            return owner.get_submodule(path)
        except AttributeError:
            pass
        known = [name for name, _ in owner.named_modules() if name]
        near = difflib.get_close_matches(path, known, n=1)
        found = owner
        for step in path.split("."):
            found = getattr(found, step, None)
        problem = "names nothing in" if found is None else f"is no module but a {type(found).__name__} in"
        inside = ", ".join(name for name, _ in owner.named_children())
        hint = f"did you mean {near[0]!r}?" if near else f"its parts are {inside}"
        raise self.wrong(field, f"{problem} {place} ({type(owner).__name__}); {hint}")

    def shapes(self, modules: list[nn.Module], output: nn.Module) -> None:
        """Widths of projections and output are those of the config's heads."""
        family, width, heads = self.family, int(self.config.hidden_size), self.heads
        if issubclass(family.projections, FusedHeads) and self.kv_heads != heads:
            raise self.wrong("projections", f"has a k and a v for each of {heads} heads, the config {self.kv_heads}")
        out = _widths(output)
        if out is None:
            raise self.wrong("output", f"names a module that is not a linear map: {unreadable(output)}")
        if out[0] % heads or out[1] != width:
            raise self.wrong(
                "output",
                f"maps {out[0]} to {out[1]} numbers; config.num_attention_heads={heads} and hidden_size={width} ask "
                f"for a multiple of {heads} and for {width}",
            )
        held = family.projections.layout(heads, self.kv_heads)
        for name, module, count in zip(family.projection_names, modules, held, strict=True):
            found, expected = _widths(module), (width, count * (out[0] // heads))
            if found is None:
                raise self.wrong("projection_names", f"names {name!r}, which is not a linear map: {unreadable(module)}")
            if found != expected:
                raise self.wrong(
                    "projections",
                    f"asks for {name!r} to map {expected[0]} to {expected[1]} numbers ({count} heads of "
                    f"{out[0] // heads}), and it maps {found[0]} to {found[1]}; config.num_attention_heads={heads}, "
                    f"num_key_value_heads={self.kv_heads}, hidden_size={width}",
                )


def _widths(module: nn.Module) -> tuple[int, int] | None:
    """Numbers in and out of a linear map, quantised or with an adapter too; None for any other module."""
    for names in (("in_features", "out_features"), ("nx", "nf")):
        found = tuple(getattr(module, name, None) for name in names)
        if all(isinstance(number, int) for number in found):
            return found  # type: ignore[return-value]
    return None
