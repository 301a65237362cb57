"""Whether a family fits a model: its config asks for nothing unhandled, and each field names what is there.

What only numbers can tell (the kind of the norms, which output is which head's, what is called when) is asked by the
self-check, engine/self_check.py.
"""

from __future__ import annotations

import difflib
from typing import Any, final

import torch
from torch import nn

from edgewise.errors import UnsupportedModel
from edgewise.models.configs import check_config
from edgewise.models.family import Family
from edgewise.models.projections import FusedHeads
from edgewise.models.text_config import text_config
from edgewise.models.weights import unreadable

# The kernel by which transformers runs experts unless told otherwise.
GROUPED_EXPERTS = "grouped_mm"
SIZE_FIELDS = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")


def check_family(model: Any, family: Family) -> None:
    """Refuse, by name, what the config asks for and is not handled, and fields that do not fit the model."""
    check_config(model, family)
    config = text_config(model)
    is_double = next(model.parameters()).dtype == torch.float64
    if is_double and getattr(config, "_experts_implementation", None) == GROUPED_EXPERTS:
        raise UnsupportedModel(
            f"the experts of {type(model).__name__} run as {GROUPED_EXPERTS!r}, which does not support float64; "
            'call model.set_experts_implementation("eager") first'
        )
    check_fit(model, family)


def check_fit(model: Any, family: Family) -> None:
    """Refuse a model in which a field of the family names nothing, or something of another shape. UnsupportedModel."""
    fit = _Fit(model, family)
    fit.sizes()
    blocks = fit.blocks()
    fit.part(model, "the model", "final_norm")
    for number, block in enumerate(blocks):
        fit.block(block, f"{family.blocks}.{number}")


@final
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
        for size in SIZE_FIELDS:
            if not isinstance(getattr(self.config, size, None), int):
                raise UnsupportedModel(
                    f"{type(self.model).__name__}: its config has no number {size}, which edgewise needs; give "
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
        part = owner
        for step in path.split("."):
            part = getattr(part, step, None)
        problem = "names nothing in" if part is None else f"is no module but a {type(part).__name__} in"
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
            widths, expected = _widths(module), (width, count * (out[0] // heads))
            if widths is None:
                raise self.wrong("projection_names", f"names {name!r}, which is not a linear map: {unreadable(module)}")
            if widths != expected:
                raise self.wrong(
                    "projections",
                    f"asks for {name!r} to map {expected[0]} to {expected[1]} numbers ({count} heads of "
                    f"{out[0] // heads}), and it maps {widths[0]} to {widths[1]}; config.num_attention_heads={heads}, "
                    f"num_key_value_heads={self.kv_heads}, hidden_size={width}",
                )


def _widths(module: nn.Module) -> tuple[int, int] | None:
    """Numbers in and out of a linear map, quantised or with an adapter too; None for any other module."""
    for names in (("in_features", "out_features"), ("nx", "nf")):
        widths = tuple(getattr(module, name, None) for name in names)
        if all(isinstance(number, int) for number in widths):
            return widths  # type: ignore[return-value]
    return None
