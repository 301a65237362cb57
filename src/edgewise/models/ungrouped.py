"""Ungrouped keys and values: a model whose query heads share k and v, seen as if each had its own.

The twin computes what the model computes, from k and v weights that are repeated for each query head of a group: its graph
has a k and a v reader for every head, as libraries have it that know no shared ones. All other weights are the model's own.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, Literal, get_args

from torch import Tensor, nn

from edgewise.errors import UnknownName
from edgewise.models.family import Family
from edgewise.models.weights import compute_dtype, effective, linear_maps

# The readers of the model as it is, or one k and one v reader for every query head.
KeyValues = Literal["native", "ungrouped"]


def with_readers(model: Any, family: Family, kv: KeyValues) -> Any:
    """The model itself, or, if it groups keys and values and is to be ungrouped, its twin. UnknownName for another `kv`."""
    if kv not in get_args(KeyValues):
        raise UnknownName.of("choice of k and v readers", kv, get_args(KeyValues))
    graph = family.graph(model)
    return model if kv == "native" or graph.kv_heads == graph.heads else _twin(model, family)


def _twin(model: Any, family: Family) -> Any:
    graph = family.graph(model)
    # Parameters, buffers and linear maps are shared with the model, only the modules around them are new.
    shared = chain(model.parameters(), model.buffers(), linear_maps(model).values())
    twin = copy.deepcopy(model, {id(one): one for one in shared})
    for layer in twin.get_submodule(family.blocks):
        attention = layer.get_submodule(family.attention)
        for name in family.projection_names[1:]:
            repeated = _repeated(attention.get_submodule(name), graph.kv_heads, graph.heads // graph.kv_heads)
            attention.set_submodule(name, repeated.to(compute_dtype(model)))
        if hasattr(attention, "num_key_value_groups"):
            attention.num_key_value_groups = 1
    object.__setattr__(twin.config, "num_key_value_heads", graph.heads)  # also where the config is frozen
    return twin


def _repeated(projection: nn.Module, kv_heads: int, times: int) -> nn.Linear:
    """A plain layer in which every query head of a group has the rows that it shared, as they are applied now."""

    def repeated(rows: Tensor) -> nn.Parameter:
        whole = rows.unflatten(0, (kv_heads, -1)).repeat_interleave(times, dim=0).flatten(0, 1)
        return nn.Parameter(whole, requires_grad=next(projection.parameters()).requires_grad)

    weight, bias = effective(projection)
    linear: Any = nn.utils.skip_init(
        nn.Linear, weight.shape[1], len(weight) * times, bias=bias is not None, device=weight.device
    )
    linear.weight = repeated(weight)
    linear.bias = None if bias is None else repeated(bias)  # type: ignore[assignment]
    linear.train(projection.training)
    return linear
