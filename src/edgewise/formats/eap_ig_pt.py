"""EAP-IG `.pt`: the tensor form of the EAP-IG library and the MIB benchmark, in both directions, without pickled code.

A dictionary with `cfg`, `src_nodes` and `dst_nodes` (names in index order), `edges_scores` [source, destination],
`edges_in_graph` and `nodes_in_graph`. Sign, grouped heads and input are converted as for their JSON: see `eap_ig.py`. Scores
of nodes and neurons, and the neurons that are kept, are in `eap_ig_nodes.py`.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.errors import FileError
from edgewise.formats.eap_ig_graph import config_of, their_graph
from edgewise.formats.eap_ig_json import eap_ig_document, from_document
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.store.disk import read_bytes
from edgewise.store.schema import dump

KEYS = ("cfg", "src_nodes", "dst_nodes", "edges_scores", "edges_in_graph", "nodes_in_graph")


@typed
def read_eap_ig_pt(
    path: str | os.PathLike[str], *, graph: Graph | None = None, sign: int = 1
) -> tuple[Scores, Circuit]:
    """Read the scores and the circuit in a `.pt` file of the EAP-IG library, without running code from it.

    `path`, `graph`, `sign`: as in `read_eap_ig`.

    Returns (Scores, Circuit). Only tensors and plain values are loaded; a file that holds anything else is refused.
    Raises what `read_eap_ig` raises.
    """
    name = os.fspath(path)
    value = load_pt(read_bytes(path), name)
    theirs = their_graph(config_of(value["cfg"], name))
    if list(value["src_nodes"]) != list(theirs.writers) or list(value["dst_nodes"]) != list(theirs.readers):
        raise FileError(f"{name}: its nodes do not match its cfg ({theirs})")
    scores, kept = (_matrix(value, key, theirs, name) for key in ("edges_scores", "edges_in_graph"))
    pairs = zip(scores.T[theirs.edge_mask.T].tolist(), kept.T[theirs.edge_mask.T].tolist(), strict=True)
    edges = {
        edge: {"score": score, "in_graph": bool(on)} for edge, (score, on) in zip(theirs.edges, pairs, strict=True)
    }
    return from_document({"cfg": value["cfg"], "nodes": {}, "edges": edges}, name, graph=graph, sign=sign)


@typed
def eap_ig_pt(scores: Scores | None, circuit: Circuit | None, *, sign: int = 1, d_model: int | None = None) -> bytes:
    """Write scores, a circuit, or both as the bytes of a `.pt` file of the EAP-IG library.

    `scores`, `circuit`, `sign`, `d_model`: as in `eap_ig_json`, and so are the errors.

    Returns the bytes.
    """
    return to_bytes(tensors_of(eap_ig_document(scores, circuit, sign=sign, d_model=d_model)))


def tensors_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a `.pt` file holds of a document of the form of their JSON: its edges, and which nodes are kept."""
    config = json.loads(dump(document["cfg"]))
    theirs = their_graph(config_of(config, "the scores"))
    values = torch.zeros(theirs.edge_mask.shape)
    kept = torch.zeros_like(theirs.edge_mask)
    for edge, entry in document["edges"].items():
        place = theirs.edge_index(edge)
        values[place], kept[place] = entry["score"], entry["in_graph"]
    nodes = torch.tensor([document["nodes"][name]["in_graph"] for name in theirs.writers])
    facts = (config, list(theirs.writers), list(theirs.readers), values, kept, nodes)
    return dict(zip(KEYS, facts, strict=True))


def to_bytes(value: dict[str, Any]) -> bytes:
    """The bytes of a `.pt` file."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def load_pt(data: bytes, name: str) -> dict[str, Any]:
    """The dictionary in a `.pt` file, without running anything in it; FileError if it is none of theirs."""
    try:
        value = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0][:160]
        raise FileError(f"{name} is damaged, or holds more than tensors and plain values: {reason}") from None
    missing = [key for key in KEYS if not isinstance(value, dict) or key not in value]
    if missing:
        raise FileError(f"{name} is not an EAP-IG file: it has no {' and no '.join(map(repr, missing))}")
    return value


def _matrix(value: dict[str, Any], key: str, graph: Graph, name: str) -> Tensor:
    found = value[key]
    if not isinstance(found, Tensor) or found.shape != graph.edge_mask.shape:
        raise FileError(f"{name}: {key!r} is not a tensor of shape {tuple(graph.edge_mask.shape)}")
    return found.double()
