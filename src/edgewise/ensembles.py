"""Ensembles: scores of several methods, or of several samples, made into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edgewise.arguments import typed
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.scores import Scores, ranks


@typed
def ensemble(members: Sequence[Scores], how: str = "rank") -> Scores:
    """Combine several scores of one graph into their mean, by rank or by value.

    `members`: Scores of edges, at least one.
    `how`: "rank" or "value". By "rank", each score becomes sign · rank of its size / number of edges, so that members
    on different scales count alike, and both signed and absolute selection keep their meaning. "value" is the plain
    mean, in which the member with the largest scores counts most.

    Returns Scores whose provenance lists the members. Raises GraphMismatch for scores of different graphs, UnknownName
    for another mean, InvalidValue without members or for a plain mean of infinite values. The plain mean is that of the
    best entries of the MIB shared task (Mondorf et al. 2025, arXiv:2510.06811).
    """
    if not members:
        raise InvalidValue("an ensemble needs at least one set of scores")
    if how not in MEANS:
        raise UnknownName.of("mean", how, MEANS)
    graph = members[0].graph
    for other in members:
        if other.graph != graph:
            raise GraphMismatch(f"the scores of an ensemble are of different graphs: {graph} and {other.graph}")
    on_edges = torch.stack([MEANS[how](member.values[graph.edge_mask].double()) for member in members])
    values = torch.zeros(graph.edge_mask.shape, dtype=torch.float64)
    values[graph.edge_mask] = on_edges.mean(dim=0)
    shared = _shared(members)
    return Scores(graph, values, {**shared, "method": "ensemble", "mean": how, "members": _described(members)})


def _signed_ranks(values: Tensor) -> Tensor:
    """sign · rank of the size / number of values, in [-1, 1].

    >>> _signed_ranks(torch.tensor([0.5, -3.0, 0.0, 1.0])).tolist()
    [0.5, -1.0, 0.0, 0.75]
    """
    return values.sign() * ranks(values.abs()) / len(values)


def _values(values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise InvalidValue("some scores are infinite, so the mean of values says nothing; use the mean of ranks")
    return values


MEANS: dict[str, Callable[[Tensor], Tensor]] = {"rank": _signed_ranks, "value": _values}


def _described(members: Sequence[Scores]) -> list[dict[str, object]]:
    keys = ("method", "options", "metric", "ablation", "data", "examples")
    return [{key: member.provenance[key] for key in keys if key in member.provenance} for member in members]


def _shared(members: Sequence[Scores]) -> dict[str, object]:
    """What the provenance of all members agrees on."""
    first, *others = (member.provenance for member in members)
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
