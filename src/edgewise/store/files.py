"""Circuits and scores to files and back; those of neurons and nodes have their documents in `neurons.py`.

A circuit is one `.json`. Scores are one `.safetensors` (the tensor `values` [writer, reader], and the JSON header as
its metadata) or, readable and as exact, a `.json` with a value for every edge. Never pickle.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from edgewise.arguments import checked_argument, typed
from edgewise.circuit import Circuit
from edgewise.errors import FileError
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.store.dimensions import check_claim, table_shape
from edgewise.store.disk import write_bytes
from edgewise.store.json_text import parse
from edgewise.store.manifest import check_listed
from edgewise.store.nodes_and_neurons import (
    neuron_circuit,
    neuron_circuit_json,
    node_scores,
    node_scores_json,
    node_scores_of,
    node_scores_parts,
)
from edgewise.store.opening import read_bytes, understood
from edgewise.store.packed import unpacked
from edgewise.store.schema import (
    CIRCUIT,
    NEURON_CIRCUIT,
    NODE_SCORES,
    SCORES,
    CircuitDocument,
    GraphDocument,
    NeuronCircuitDocument,
    NodeScoresDocument,
    NodeScoresHeader,
    ScoresDocument,
    ScoresHeader,
    dump,
    encode,
    kind_of,
    provenance_of,
    validate,
)

METADATA = "edgewise"
Saved = Circuit | Scores


def save(value: Saved, path: str | os.PathLike[str]) -> Path:
    """Write a circuit or scores to a file, completely or not at all.

    `value`: a Circuit (`.json`), or Scores of edges or nodes (`.safetensors` or `.json`).
    `path`: where to write; its suffix chooses the form.

    Returns the path. The same value gives the same bytes. Raises FileError if the suffix does not fit, the folder is
    missing, or the file cannot be written.
    """
    path = checked_argument("save: path", str | os.PathLike, path)
    name, suffix = os.fspath(path), Path(path).suffix
    writers = WRITERS.get((type(value), getattr(value, "level", "")))
    if writers is None:
        kind = "NeuronScores" if isinstance(value, Scores) else type(value).__name__
        raise FileError(f"a {kind} cannot be saved; give a circuit or scores, of edges, nodes or neurons")
    if suffix in writers:
        return write_bytes(path, writers[suffix](value))
    raise FileError(f"{name}: {'a circuit is' if len(writers) == 1 else 'scores are'} saved as {' or '.join(writers)}")


def to_bytes(value: Saved, suffix: str) -> bytes:
    """What `save` writes to a file of that suffix."""
    return WRITERS[type(value), value.level][suffix](value)


@typed
def read(path: str | os.PathLike[str]) -> Saved:
    """Read the circuit or the scores in a file that `save` wrote.

    `path`: a `.json` or `.safetensors` file.

    Returns a Circuit or Scores, equal to what was saved. Raises FileError, with the name of the file, if it is missing,
    truncated, damaged, from a newer version, or of another kind.
    """
    name = os.fspath(path)
    data = read_bytes(path)
    with understood(name):
        value = _read_safetensors(data, name) if Path(path).suffix == ".safetensors" else _read_json(data, name)
    check_listed(path, data)
    return value


def _read_json(data: bytes, name: str) -> Saved:
    document = parse(data, name)
    kind = kind_of(document, name)
    if kind == CIRCUIT:
        return _circuit(validate(CircuitDocument, document, name))
    if kind == SCORES:
        return _scores(validate(ScoresDocument, document, name))
    if kind == NEURON_CIRCUIT:
        return neuron_circuit(validate(NeuronCircuitDocument, document, name))
    if kind == NODE_SCORES:
        return node_scores(validate(NodeScoresDocument, document, name))
    raise FileError(f"{name} holds {kind!r}, not a circuit or scores")


# -- to text and bytes -----------------------------------------------------------------------------------------------


def circuit_json(circuit: Circuit) -> str:
    """The circuit as JSON text."""
    document = CircuitDocument(
        graph=GraphDocument.of(circuit.graph),
        provenance=provenance_of(circuit.provenance),
        edges=list(circuit.edges),
    )
    return dump(document)


def scores_json(scores: Scores) -> str:
    """The scores as JSON text with a value for every edge; float32 values come back exactly."""
    edges = dict(zip(scores.graph.edges, edge_values(scores), strict=True))
    infinite = [edge for edge, value in edges.items() if not math.isfinite(value)]
    if infinite:
        raise FileError(f"the score of {infinite[0]} is infinite, which JSON cannot hold; save to .safetensors")
    document = ScoresDocument(
        graph=GraphDocument.of(scores.graph), provenance=provenance_of(scores.provenance), edges=edges
    )
    return dump(document)


def scores_safetensors(scores: Scores) -> bytes:
    """The scores as a safetensors file whose metadata holds the JSON header."""
    header = ScoresHeader(graph=GraphDocument.of(scores.graph), provenance=provenance_of(scores.provenance))
    return _safetensors(header, {"values": scores.values.contiguous()})


def node_scores_safetensors(scores: Scores) -> bytes:
    """The scores of nodes, and of their neurons if they have them, as a safetensors file."""
    return _safetensors(*node_scores_parts(scores))


def _safetensors(header: BaseModel, tensors: dict[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save as packed

    return packed(tensors, metadata={METADATA: encode(dump(header, indent=None)).decode()})


def edge_values(scores: Scores) -> list[float]:
    """The value of every edge, in the order of `Graph.edges`."""
    return scores.values.T[scores.graph.edge_mask.T].tolist()


# -- from documents --------------------------------------------------------------------------------------------------


def _circuit(document: CircuitDocument) -> Circuit:
    graph = check_claim(document.graph.graph(), len(document.edges))
    circuit = Circuit.from_edges(graph, document.edges, document.provenance)
    if len(circuit) != len(document.edges):
        raise FileError(f"{len(document.edges) - len(circuit)} edges are named twice")
    return circuit


def _scores(document: ScoresDocument) -> Scores:
    graph = check_claim(document.graph.graph(), len(document.edges))
    return Scores(graph, from_edge_values(graph, document.edges), document.provenance)


def from_edge_values(graph: Graph, edges: Mapping[str, float]) -> torch.Tensor:
    """float32 [writer, reader] with the value of every edge; FileError if one is missing."""
    values, places = torch.zeros(graph.edge_mask.shape), [graph.edge_index(edge) for edge in edges]
    if places:
        writers, readers = torch.tensor(places).T
        values[writers, readers] = torch.tensor(list(edges.values()), dtype=torch.float32)
    if lacking := graph.n_edges - len(scored := set(places)):
        every = ((writer, reader) for reader in range(len(graph.readers)) for writer in range(graph.reach(reader)))
        missing = graph.edge_name(*next(place for place in every if place not in scored))
        raise FileError(f"{lacking:,} of {graph.n_edges:,} edges have no score, for example {missing}")
    if len(places) > graph.n_edges:
        raise FileError(f"{len(places) - graph.n_edges:,} edges are named twice")
    return values


def _read_safetensors(data: bytes, name: str) -> Scores:
    header, tensors = _unpack(data, name)
    value = parse(header.encode(), name)
    kind = kind_of(value, name)
    if kind == NODE_SCORES:
        return node_scores_of(validate(NodeScoresHeader, value, name), tensors)
    if kind != SCORES:
        raise FileError(f"{name} holds {kind!r}, not scores")
    document, values = validate(ScoresHeader, value, name), tensors["values"]
    if len(tensors) > 1:
        raise FileError(f"{name} is a safetensors file, but not scores of edgewise")
    graph = document.graph.graph()
    if values.dtype != torch.float32 or values.shape != table_shape(graph):
        raise FileError(f"its tensor is {values.dtype} {tuple(values.shape)}, not that of its graph ({graph})")
    return Scores(graph, values, document.provenance)


def _unpack(data: bytes, name: str) -> tuple[str, dict[str, torch.Tensor]]:
    metadata, tensors = unpacked(data, name)
    if METADATA not in metadata or "values" not in tensors or tensors.keys() - {"values", "neurons"}:
        raise FileError(f"{name} is a safetensors file, but not scores of edgewise")
    return metadata[METADATA], tensors


# -- what is saved how -----------------------------------------------------------------------------------------------

WRITERS: dict[tuple[type, str], dict[str, Callable[[Any], bytes]]] = {
    (Circuit, "edges"): {".json": lambda circuit: encode(circuit_json(circuit))},
    (Circuit, "neurons"): {".json": lambda circuit: encode(neuron_circuit_json(circuit))},
    (Scores, "edges"): {".safetensors": scores_safetensors, ".json": lambda scores: encode(scores_json(scores))},
    (Scores, "nodes"): {
        ".safetensors": node_scores_safetensors,
        ".json": lambda scores: encode(node_scores_json(scores)),
    },
}
