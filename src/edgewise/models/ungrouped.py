"""Ungrouped keys and values: a model whose query heads share k and v, seen as if each had its own.

The twin computes what the model computes, from k and v weights that are repeated for each query head of a group: its graph
has a k and a v reader for every head, as libraries have it that know no shared ones. All other weights are the model's own.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgewise.models.family import Family
from edgewise.models.placement import keep_weights, shared_maps
from edgewise.models.projections import Projections
from edgewise.models.text_config import text_config
from edgewise.models.weights import compute_dtype, effective, linear_maps

# The readers of the model as it is, or one k and one v reader for every query head.
KeyValues = Literal["native", "ungrouped"]


def with_readers(model: Any, family: Family, kv: KeyValues) -> Any:
    """The model itself, or, if it groups keys and values and is to be ungrouped, its twin."""
    graph = family.graph(model)
    return model if kv == "native" or graph.kv_heads == graph.heads else _twin(model, family)


def _twin(model: Any, family: Family) -> Any:
    graph = family.graph(model)
    # Parameters, buffers and linear maps are shared with the model, only the modules around them are new.
    shared = chain(model.parameters(), model.buffers(), linear_maps(model).values())
    twin = copy.deepcopy(model, {id(part): part for part in chain(shared, shared_maps(model))})
    for layer in twin.get_submodule(family.blocks):
        attention = layer.get_submodule(family.attention)
        projections = family.projections(attention, family.projection_names, graph.heads, graph.kv_heads)
        _repeat(projections, compute_dtype(model))
        if projections.key_norm:
            _repeat_gain(attention.get_submodule(projections.key_norm), projections)
        projections.ungroup()
    object.__setattr__(text_config(twin), "num_key_value_heads", graph.heads)  # also where the config is frozen
    return twin


def _repeat(projections: Projections, dtype: torch.dtype) -> None:
    """Plain layers in which every query head of a group has the k and v rows that it shared, as they are applied now."""
    weights, biases = zip(*(effective(module) for module in projections.modules), strict=True)
    wide = _repeated(projections, [weight.T for weight in weights])
    shifts = _repeated(
        projections, [w.new_zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]
    )
    kept = zip(projections.names, projections.modules, weights, biases, wide, shifts, strict=True)
    for name, module, before, bias, weight, shift in kept:
        if weight.shape[-1] != len(before):  # not the queries, which are shared with nobody
            repeated = _linear(module, weight.T, None if bias is None else shift)
            projections.attention.set_submodule(name, repeated.to(dtype))


def _linear(like: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A plain layer of that weight and bias, which asks for gradients where `like` does."""
    trained = next(like.parameters()).requires_grad
    out, width = weight.shape
    linear: Any = nn.utils.skip_init(nn.Linear, width, out, bias=bias is not None, device=weight.device)
    linear.weight = nn.Parameter(weight.contiguous(), requires_grad=trained)
    linear.bias = None if bias is None else nn.Parameter(bias.contiguous(), requires_grad=trained)  # type: ignore[assignment]
    linear.train(like.training)
    return linear


def _repeated(projections: Projections, outputs: list[Tensor]) -> list[Tensor]:
    """What the projections give, [.., out], with that of k and v once for every query head."""
    heads, kv_heads = projections.heads, projections.kv_heads
    queries, shared = projections.split(outputs).split([heads, 2 * kv_heads], dim=-2)
    repeated = shared.repeat_interleave(heads // kv_heads, dim=-2)
    return projections.join(torch.cat([queries, repeated], dim=-2), heads)


def _repeat_gain(norm: nn.Module, projections: Projections) -> None:
    """The same for a norm that spans all keys: the mean of the squares of repeated keys is that of the keys."""
    keep_weights(norm)
    gain, times = norm.weight, projections.heads // projections.kv_heads
    by_head = gain.detach().unflatten(0, (projections.kv_heads, -1))  # type: ignore[operator, union-attr]
    wide = by_head.repeat_interleave(times, dim=0).flatten(0, 1)
    norm.weight = nn.Parameter(wide, requires_grad=gain.requires_grad)  # type: ignore[union-attr]
