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
from edgewise.graph import Graph
from edgewise.models.family import Family, text_config
from edgewise.models.projections import plain_linear

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
    # Parameters and buffers are shared with the model, only the modules around them are new.
    twin = copy.deepcopy(model, {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())})
    for layer in twin.get_submodule(family.blocks):
        attention = layer.get_submodule(family.attention)
        for name in family.projection_names[1:]:
            _repeat(attention.get_submodule(name), graph)
        if family.projections.key_norm:
            _repeat_gain(attention.get_submodule(family.projections.key_norm), graph)
        if hasattr(attention, "num_key_value_groups"):
            attention.num_key_value_groups = 1
    object.__setattr__(text_config(twin), "num_key_value_heads", graph.heads)  # also where the config is frozen
    return twin


def _repeat(projection: nn.Module, graph: Graph) -> None:
    """Give every query head of a group the rows that it shared."""
    weight, bias = plain_linear(projection)
    projection.weight = _repeated(weight, graph, projection.weight)  # type: ignore[arg-type]
    if bias is not None:
        projection.bias = _repeated(bias, graph, projection.bias)  # type: ignore[arg-type]
    projection.out_features = len(projection.weight)  # type: ignore[assignment, arg-type]


def _repeat_gain(norm: nn.Module, graph: Graph) -> None:
    """The same for a norm that spans all keys: the mean of the squares of repeated keys is that of the keys."""
    gain = norm.weight
    norm.weight = _repeated(gain.detach(), graph, gain)  # type: ignore[arg-type, operator]


def _repeated(rows: Tensor, graph: Graph, like: nn.Parameter) -> nn.Parameter:
    whole = rows.unflatten(0, (graph.kv_heads, -1)).repeat_interleave(graph.heads // graph.kv_heads, dim=0)
    return nn.Parameter(whole.flatten(0, 1), requires_grad=like.requires_grad)
