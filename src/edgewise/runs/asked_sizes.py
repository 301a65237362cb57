"""How large a circuit a recipe asks for: read before a model is there, and counted once it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from edgewise.arguments import checked_faithfulness, checked_size, count_of, share_in
from edgewise.contract import Method
from edgewise.errors import InvalidValue
from edgewise.models.subject import Subject
from edgewise.request import Wanted

LEVEL_FIELDS = ("edges", "nodes", "neurons")
ASKED_SIZES = (*LEVEL_FIELDS, "sizes")
# What a circuit keeps of the metric, where nobody says how large it is to be.
USUAL_FAITHFULNESS = 0.85
# Stands for a share until the graph is known: whether a method can be told a size does not depend on which.
ANY_COUNT = 1


def read_sizes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe with their sizes as numbers, or as texts of shares; InvalidValue for what is no size."""
    read = dict(fields)
    for level in LEVEL_FIELDS:
        if read.get(level) is not None:
            read[level] = checked_size(read[level], level)
    if read.get("faithfulness") not in (None, "auto"):
        read["faithfulness"] = checked_faithfulness(read["faithfulness"])
    if isinstance(read.get("sizes"), list | tuple):
        read["sizes"] = tuple(checked_size(size) for size in read["sizes"])
        _check_order(read["sizes"])
    return read


def counted(fields: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """The sizes among the fields of a recipe as numbers, on this model; InvalidValue for more than it has."""
    graph = subject.graph
    nodes, neurons = len(graph.writers) - len(graph.inputs), len(graph.writers) * subject.d_model
    totals = {"edges": graph.n_edges, "nodes": nodes, "neurons": neurons}
    found: dict[str, Any] = {
        level: count_of(fields[level], totals[level], level) for level in LEVEL_FIELDS if fields.get(level) is not None
    }
    if fields.get("sizes") is not None:
        found["sizes"] = tuple(count_of(size, graph.n_edges) for size in fields["sizes"])
        _refuse_disorder(found["sizes"], fields["sizes"])
    return found


def count_before_graph(size: int | str | None) -> int | None:
    """The number, or one that stands for a share as long as there is no graph."""
    return ANY_COUNT if isinstance(size, str) else size


def asked_share(faithfulness: float | Literal["auto"] | None, wanted: Wanted, method: Method) -> float | None:
    """The share of the metric by which the size is chosen, None where it is not; InvalidValue where it cannot be.

    "auto": the usual share, where no size is asked for and the method scores the edges.
    """
    if faithfulness is None:
        return None
    if faithfulness != "auto":
        refuse_unscored(method)
        return faithfulness
    if wanted.goal != "circuit" or wanted.level != "edges" or wanted.edges is not None:
        return None
    try:
        refuse_unscored(method)
    except InvalidValue:
        return None
    return USUAL_FAITHFULNESS


def refuse_unscored(method: Method) -> None:
    """InvalidValue for a method that gives no scores, along which a size could be chosen by what it keeps."""
    try:
        method.refuse(Wanted("scores"))
    except InvalidValue:
        raise InvalidValue(
            f"{method.name} decides itself which edges it keeps, so that no size can be chosen by faithfulness; "
            "leave it out, or take a method that scores edges, such as eap-ig"
        ) from None


def _check_order(sizes: Sequence[int | str]) -> None:
    """Refuse sizes in disorder, as far as they can be told apart: numbers among numbers, shares among shares."""
    shares = [share_in(size) for size in sizes]
    if len(sizes) < 2 or not any(isinstance(size, str) for size in sizes):
        _refuse_disorder(sizes, sizes)
    elif all(share is not None for share in shares):
        _refuse_disorder(shares, sizes)


def _refuse_disorder(values: Sequence[Any], sizes: Sequence[int | str]) -> None:
    rising = sorted(set(values))
    if len(values) < 2 or list(values) not in (rising, rising[::-1]):
        raise InvalidValue(
            "several sizes must rise or fall, each given once, such as 300,1000,3500; not " + ",".join(map(str, sizes))
        )
