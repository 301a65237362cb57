"""Circuits of neurons and scores of nodes as documents, and back.

A circuit of neurons is one `.json` with the kept coordinates of every writer. Scores of nodes are, like those of edges, one
`.safetensors` (`values` [writer] and, if known, `neurons` [writer, d_model]) or a readable `.json`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.errors import FileError
from edgewise.scores import Scores
from edgewise.store.dimensions import check_claim, table_shape
from edgewise.store.schema import (
    GraphDocument,
    NeuronCircuitDocument,
    NodeScoresDocument,
    NodeScoresHeader,
    dump,
    provenance_of,
)


def neuron_circuit_json(circuit: Circuit) -> str:
    """The circuit as JSON text."""
    document = NeuronCircuitDocument(
        graph=GraphDocument.of(circuit.graph),
        d_model=circuit.d_model,
        provenance=provenance_of(circuit.provenance),
        neurons=circuit.indices,
    )
    return dump(document)


def node_scores_json(scores: Scores) -> str:
    """The scores as JSON text with a value for every writer; float32 values come back exactly."""
    finite = [scores.values.isfinite()] + ([] if scores.neurons is None else [scores.neurons.isfinite().all(dim=1)])
    bad = (~torch.stack(finite).all(dim=0)).nonzero().flatten().tolist()
    if bad:
        name = scores.graph.writers[bad[0]]
        raise FileError(f"the score of {name} is not finite, which JSON cannot hold; save to .safetensors")
    writers = scores.graph.writers
    neurons = None if scores.neurons is None else dict(zip(writers, scores.neurons.float().tolist(), strict=True))
    document = NodeScoresDocument(
        graph=GraphDocument.of(scores.graph),
        provenance=provenance_of(scores.provenance),
        nodes=dict(zip(writers, scores.values.float().tolist(), strict=True)),
        neurons=neurons,
    )
    return dump({name: value for name, value in document.model_dump(by_alias=True).items() if value is not None})


def node_scores_parts(scores: Scores) -> tuple[NodeScoresHeader, dict[str, Tensor]]:
    """The header and the tensors of a `.safetensors` file."""
    header = NodeScoresHeader(graph=GraphDocument.of(scores.graph), provenance=provenance_of(scores.provenance))
    neurons = {} if scores.neurons is None else {"neurons": scores.neurons.float().contiguous()}
    return header, {"values": scores.values.float().contiguous(), **neurons}


def neuron_circuit(document: NeuronCircuitDocument) -> Circuit:
    """The circuit in a document; an error of ours if it has what its graph has not."""
    listed = sum(map(len, document.neurons.values()))
    graph = check_claim(document.graph.graph(), listed, document.d_model)
    circuit = Circuit.from_indices(graph, document.d_model, document.neurons, document.provenance)
    if len(circuit) != listed:
        raise FileError(f"{listed - len(circuit)} neurons are named twice")
    return circuit


def node_scores(document: NodeScoresDocument) -> Scores:
    """The scores in a document; FileError if a writer has none."""
    writers = check_claim(document.graph.graph(), len(document.nodes)).writers
    for values in (document.nodes, document.neurons):
        if values is not None and set(values) != set(writers):
            odd = sorted(set(values) ^ set(writers))[0]
            raise FileError(f"{odd} {'has no score' if odd in writers else 'is not a writer of its graph'}")
    return node_scores_of(document, _tensors(document, writers))


def node_scores_of(header: NodeScoresHeader, tensors: Mapping[str, Tensor]) -> Scores:
    """The scores of a header and its tensors; FileError if these are not those of its graph."""
    graph, values, neurons = header.graph.graph(), tensors["values"], tensors.get("neurons")
    count = table_shape(graph)[0]
    whole = values.dtype == torch.float32 and values.shape == (count,)
    if neurons is not None:
        whole = whole and neurons.dtype == torch.float32 and neurons.ndim == 2 and len(neurons) == count
    if not whole or tensors.keys() - {"values", "neurons"}:
        shapes = ", ".join(f"{key} {value.dtype} {tuple(value.shape)}" for key, value in sorted(tensors.items()))
        raise FileError(f"its tensors ({shapes}) are not those of its graph ({graph})")
    if any(bool(tensor.isnan().any()) for tensor in tensors.values()):
        raise FileError("one of its scores is NaN")
    parts = None if neurons is None else Scores(graph, neurons, header.provenance, level="neurons")
    return Scores(graph, values, header.provenance, level="nodes", parts=parts)


def _tensors(document: NodeScoresDocument, writers: tuple[str, ...]) -> dict[str, Tensor]:
    found = {"values": torch.tensor([document.nodes[writer] for writer in writers])}
    if document.neurons is None:
        return found
    rows = [document.neurons[writer] for writer in writers]
    if len({len(row) for row in rows}) != 1:
        raise FileError("its writers have different numbers of neurons")
    return {**found, "neurons": torch.tensor(rows)}
