"""Parts: the modules of a model that backward rules act on, told by class, and refused by class where unknown."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from edgewise.errors import UnsupportedModel
from edgewise.models.norms import Norm, NormKind
from edgewise.models.subject import Subject
from edgewise.models.weights import is_linear, linear_maps

# Elementwise f with f(0) = 0 and f'(0) = ½, whose slope is replaced by f(x) / x.
SMOOTH = ("GELU", "GELUActivation", "NewGELUActivation", "PytorchGELUTanh", "GELUTanh", "FastGELUActivation")
SMOOTH = (*SMOOTH, "QuickGELUActivation", "AccurateGELUActivation", "SiLU", "SiLUActivation")
# Elementwise f whose derivative is f(x) / x already.
PIECEWISE_LINEAR = ("ReLU", "LinearActivation", "Identity")
LINEAR = ("Embedding", "Dropout")
# Names of an MLP's linear maps, and which of them reads a product of two paths.
GATED = {
    frozenset(("gate_proj", "up_proj", "down_proj")): "down_proj",
    frozenset(("gate_up_proj", "down_proj")): "down_proj",
}
UNGATED = [{"c_fc", "c_proj"}, {"dense_h_to_4h", "dense_4h_to_h"}, {"fc1", "fc2"}, {"fc_in", "fc_out"}, {"0", "2"}]

# A mixture of experts: the router, and the experts, whose products are taken within.
ROUTERS = ("MixtralTopKRouter", "Qwen3MoeTopKRouter")
EXPERTS = ("MixtralExperts", "Qwen3MoeExperts")


def _leaves(subject: Subject) -> Iterator[nn.Module]:
    """Modules without parts in the blocks and the last norm. Whatever no change knows is refused."""
    for module in (*(block.module for block in subject.blocks), subject.final_norm.module):
        yield from map(_known, _leaves_of(module))


def _leaves_of(module: nn.Module) -> Iterator[nn.Module]:
    """What linear maps are made of, adapters and weights in few bits, is not looked into: they are linear."""
    if is_linear(module):
        return
    parts = list(module.children())
    for part in parts:
        yield from _leaves_of(part)
    if not parts:
        yield module


def _known(leaf: nn.Module) -> nn.Module:
    name = type(leaf).__name__
    if name in (*SMOOTH, *PIECEWISE_LINEAR, *LINEAR, *ROUTERS) or name.endswith(("Norm", "RotaryEmbedding")):
        return leaf
    raise UnsupportedModel(
        f"the backward rules do not support {name}; they support {', '.join(SMOOTH)} and linear maps"
    )


def norms(subject: Subject) -> list[Norm]:
    """All norms, those of queries and keys inside the attention among them."""
    like = subject.final_norm
    if like.kind is NormKind.NONE:
        return []
    modules = [leaf for leaf in _leaves(subject) if type(leaf).__name__.endswith("Norm")]
    for module in modules:
        if type(module) is not type(like.module):
            raise UnsupportedModel(
                f"the backward rule norms does not support {type(module).__name__} beside {like.kind.value}"
            )
    return [Norm(module, like.kind) for module in modules]


def activations(subject: Subject) -> list[nn.Module]:
    """The activations whose slope is not f(x) / x already."""
    return [leaf for leaf in _leaves(subject) if type(leaf).__name__ in SMOOTH]


def products(subject: Subject) -> list[tuple[nn.Module, float]]:
    """The modules that read a product of two paths, and the share of their input's gradient; none where MLPs have no gate.

    What experts read goes through two products, that with their gate and that with the router's weight.
    """
    found: list[tuple[nn.Module, float]] = []
    for block in subject.blocks:
        if block.mlp is None:
            continue
        modules, steps = block.mlp.modules, block.mlp.steps
        parts = {type(part).__name__: part for part in modules.values()}
        if (router := parts.keys() & ROUTERS) and (experts := parts.keys() & EXPERTS):
            found += [(parts[router.pop()], 0.5), (parts[experts.pop()], 0.25)]
            continue
        linear = (
            set(linear_maps(steps[0])) if len(steps) == 1 else {name for name, one in modules.items() if is_linear(one)}
        )
        if frozenset(linear) in GATED:
            found.append((modules[GATED[frozenset(linear)]], 0.5))
        elif linear not in UNGATED:
            raise UnsupportedModel(
                f"the backward rules do not know {block.mlp.kind}: are two of {sorted(linear)} multiplied?"
            )
    return found
