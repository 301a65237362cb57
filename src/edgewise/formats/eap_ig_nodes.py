"""Nodes and neurons in EAP-IG files, JSON and `.pt`, in both directions.

In JSON the entry of a node may have a `score`, `neurons` (whether each coordinate it writes is kept) and `neurons_scores`;
a `.pt` file may have `nodes_scores` [source], `neurons_in_graph` and `neurons_scores` [source, d_model]. Sources are our
writers, so nothing but the sign is converted: see `eap_ig.py`. NaN is a score that was not made. Their circuits of neurons
have all edges between the nodes they keep, as ours do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.errors import FileError, GraphMismatch, InvalidValue
from edgewise.formats.eap_ig_graph import parse_theirs
from edgewise.formats.eap_ig_json import eap_ig_document, read_eap_ig
from edgewise.formats.eap_ig_pt import is_of_torch, load_pt, read_eap_ig_pt, tensors_of, to_bytes
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.store.opening import read_bytes, understood
from edgewise.store.schema import dump, encode, validate


class NodeEntry(BaseModel):
    """What a JSON file says of one node."""

    model_config = ConfigDict(extra="ignore")

    in_graph: bool = True
    score: float | None = None
    neurons: list[bool] | None = None
    neurons_scores: list[float] | None = None


@typed
def read_eap_ig_nodes(
    path: str | os.PathLike[str], *, graph: Graph | None = None, sign: int = 1
) -> tuple[Scores | None, Circuit | None]:
    """Read the scores of nodes and neurons, and the circuit of neurons, in a file of the EAP-IG library.

    `path`: a `.json` or `.pt` file.
    `graph`, `sign`: as in `read_eap_ig`.

    Returns (Scores of nodes, Circuit of neurons), with None for what the file does not have. Raises what `read_eap_ig`
    raises, and FileError for a file that scores only some nodes, or whose edges are not all those between the nodes it
    keeps.
    """
    name, tensors = os.fspath(path), is_of_torch(path)
    edges = (read_eap_ig_pt if tensors else read_eap_ig)(path, graph=graph, sign=sign)[1]
    data = read_bytes(path)
    with understood(name):
        found = load_pt(data, name) if tensors else _from_json(parse_theirs(data, name), edges.graph, name)
        kept, facts = _scores(found, "neurons_in_graph", edges, name), edges.provenance
        scores = _node_scores(found, edges, sign, name)
        circuit = None if kept is None or not bool(kept.any()) else Circuit.of_neurons(edges.graph, kept > 0, facts)
    if circuit is not None and circuit.circuit.without_dangling() != edges.without_dangling():
        raise FileError(f"{name} does not keep exactly the edges between the nodes whose neurons it keeps")
    return scores, circuit


@typed
def eap_ig_nodes_json(
    scores: Scores | None, circuit: Circuit | None, *, sign: int = 1, d_model: int | None = None
) -> bytes:
    """Write scores of nodes and neurons, a circuit, or both as the bytes of JSON of the EAP-IG library.

    `scores`: scores of nodes, with those of their neurons if they are known. Without them, kept neurons score 1 and
    others 0.
    `circuit`: the circuit, of neurons or of edges. Edges score 0, and are kept if they are the circuit's.
    `sign`, `d_model`: as in `eap_ig_json`.

    Returns the bytes. Raises InvalidValue for infinite scores, GraphMismatch for different graphs.
    """
    return encode(dump(_document(scores, circuit, sign, d_model), indent=None))


@typed
def eap_ig_nodes_pt(
    scores: Scores | None, circuit: Circuit | None, *, sign: int = 1, d_model: int | None = None
) -> bytes:
    """Write the same as the bytes of a `.pt` file, the only form their own writer has for scores of nodes.

    `scores`, `circuit`, `sign`, `d_model`: as in `eap_ig_nodes_json`.

    Returns the bytes.
    """
    document = _document(scores, circuit, sign, d_model)
    value, entries = tensors_of(document), list(document["nodes"].values())[:-1]
    for key, (ours, dtype) in NODE_KEYS.items():
        if ours in entries[0]:
            value[key] = torch.tensor([entry[ours] for entry in entries], dtype=dtype)
    return to_bytes(value)


# Their tensor → the key of their JSON, and its type.
NODE_KEYS = {
    "nodes_scores": ("score", torch.float32),
    "neurons_in_graph": ("neurons", torch.bool),
    "neurons_scores": ("neurons_scores", torch.float32),
}


# -- writing ---------------------------------------------------------------------------------------------------------


def _document(scores: Scores | None, circuit: Circuit | None, sign: int, d_model: int | None) -> dict[str, Any]:
    if scores is None and circuit is None:
        raise InvalidValue("give scores of nodes, a circuit, or both")
    if scores is not None and circuit is not None and scores.graph != circuit.graph:
        raise GraphMismatch(f"the scores and the circuit are of different graphs: {scores.graph} and {circuit.graph}")
    neurons = circuit if circuit is not None and circuit.level == "neurons" else None
    edges = circuit.circuit if circuit is not None else None
    if edges is None:
        assert scores is not None
        edges = Circuit(scores.graph, torch.zeros_like(scores.graph.edge_mask), scores.provenance)
    width = _width(scores, neurons)
    document = eap_ig_document(None, edges, sign=sign, d_model=d_model or width)
    for entry in document["edges"].values():
        entry["score"] = 0.0
    kept = [] if neurons is None else [("in_graph", neurons.kept.any(dim=1))]
    for name, table in [*kept, *_tables(scores, neurons, sign)]:
        for writer, value in zip(edges.graph.writers, table.tolist(), strict=True):
            document["nodes"][writer][name] = value
    return document


def _width(scores: Scores | None, neurons: Circuit | None) -> int | None:
    tables = [scores.neurons if scores is not None else None, neurons.kept if neurons is not None else None]
    widths = {table.shape[1] for table in tables if table is not None}
    if len(widths) > 1:
        raise GraphMismatch(
            f"the scores and the circuit have different widths: {' and '.join(map(str, sorted(widths)))} neurons"
        )
    return widths.pop() if widths else None


def _tables(scores: Scores | None, neurons: Circuit | None, sign: int) -> list[tuple[str, Tensor]]:
    """(key in their node, value of each writer). Their reader wants neurons and their scores together, or neither."""
    values = scores.neurons if scores is not None else None
    if values is None and neurons is not None:
        values = neurons.kept.float()
    found = [] if scores is None else [("score", sign * scores.values)]
    if values is not None:
        kept = torch.zeros(values.shape, dtype=torch.bool) if neurons is None else neurons.kept
        found += [("neurons", kept), ("neurons_scores", sign * values)]
    if not all(bool(table.isfinite().all()) for _, table in found):
        raise InvalidValue(
            "some scores are infinite, which EAP-IG files cannot hold; convert the circuit without scores"
        )
    return found


# -- reading ---------------------------------------------------------------------------------------------------------


def _from_json(document: Mapping[str, Any], graph: Graph, name: str) -> dict[str, Tensor]:
    """The tables of a JSON file, as a `.pt` file would have them. Nodes of its older age are plain booleans: no tables."""
    entries = {
        node: validate(NodeEntry, entry, f"{name}: nodes")
        for node, entry in document["nodes"].items()
        if isinstance(entry, dict)
    }
    found: dict[str, Tensor] = {}
    for key, (ours, dtype) in NODE_KEYS.items():
        rows = [getattr(entries.get(writer), ours, None) for writer in graph.writers]
        if all(row is None for row in rows):
            continue
        if any(row is None for row in rows) or len({len(row) for row in rows if isinstance(row, list)}) > 1:
            raise FileError(f"{name}: the nodes do not all have {ours!r}, or not equally many values")
        found[key] = torch.tensor(rows, dtype=dtype)
    return found


def _scores(found: Mapping[str, Any], key: str, edges: Circuit, name: str) -> Tensor | None:
    """A table of theirs, or None where it is missing or was never filled: all NaN."""
    table, count = found.get(key), len(edges.graph.writers)
    if table is None:
        return None
    if not isinstance(table, Tensor) or table.ndim != (1 if key == "nodes_scores" else 2) or len(table) != count:
        raise FileError(f"{name}: {key!r} is not a tensor with a row for each of {count} nodes")
    if bool((missing := table.isnan()).any()) and not bool(missing.all()):
        raise FileError(f"{name}: {key!r} has no value for some nodes, so they cannot be ranked")
    return None if bool(missing.all()) else table


def _node_scores(found: Mapping[str, Any], edges: Circuit, sign: int, name: str) -> Scores | None:
    """Scores of nodes; where there are only those of neurons, a node scores their sum."""
    nodes, neurons = (_scores(found, key, edges, name) for key in ("nodes_scores", "neurons_scores"))
    if nodes is None and neurons is None:
        return None
    values = neurons.double().sum(dim=1) if nodes is None and neurons is not None else nodes
    assert values is not None
    known = edges.provenance
    parts = None if neurons is None else Scores(edges.graph, sign * neurons.float(), known, level="neurons")
    return Scores(edges.graph, sign * values.float(), known, level="nodes", parts=parts)
