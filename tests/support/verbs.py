"""Every public verb that runs a model, as a function from a subject to numbers: for laws that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from support.families import pairs
from torch import Tensor

import edgewise as ew
from edgewise.methods import METHODS
from edgewise.models import Subject
from edgewise.search import Search

QUICK: dict[str, dict[str, Any]] = {
    "ugs": {"steps": 3},
    "edge-pruning": {"steps": 3, "edges": 20},
    "hap": {"steps": 3, "edges": 20},
    "subnetwork-probing": {"steps": 3},
    "acdc": {"tau": 0.3},
    "eap+acdc": {"tau": 0.3, "share": 0.3},
}


def _by_method(on: Subject, name: str) -> Tensor:
    options = QUICK.get(name, {})
    if issubclass(METHODS[name], Search):
        return _plain(ew.discover(on, pairs(), method=name, **options).mask)
    return _plain(ew.attribute(on, pairs(), method=name, **options).values)


def _evaluated(on: Subject) -> Tensor:
    circuit = ew.Circuit.from_edges(on.graph, on.graph.edges[::3])
    report = ew.evaluate(on, circuit, pairs(), metrics=["kl", "logit_diff"])
    return _list([x for m in ("kl", "logit_diff") for x in (report[m].clean, report[m].circuit, report[m].corrupted)])


def _effects(on: Subject) -> Tensor:
    return _list(list(ew.effects(on, pairs(), on.graph.edges[:4]).values()))


def _nodes(on: Subject) -> Tensor:
    return _plain(ew.attribute_nodes(on, pairs(), method="eap").values)


def _native(on: Subject) -> Tensor:
    return _plain(on.logits(pairs().clean, pairs().positions))


def _plain(values: Tensor) -> Tensor:
    return values.detach().clone().double()


def _list(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device="cpu")


VERBS: dict[str, Callable[[Subject], Tensor]] = {
    **{name: lambda on, name=name: _by_method(on, name) for name in METHODS},
    "evaluate": _evaluated,
    "effects": _effects,
    "attribute_nodes": _nodes,
    "logits": _native,
}
