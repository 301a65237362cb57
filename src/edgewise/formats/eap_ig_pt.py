"""EAP-IG `.pt`: the tensor form of the EAP-IG library and the MIB benchmark, in both directions, without pickled code.

A dictionary with `cfg`, `src_nodes` and `dst_nodes` (names in index order), `edges_scores` [source, destination],
`edges_in_graph` and `nodes_in_graph`. Sign, grouped heads and input are converted as for their JSON: see `eap_ig.py`. Scores
of nodes and neurons, and the neurons that are kept, are in `eap_ig_nodes.py`.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.errors import FileError
from edgewise.formats.eap_ig_graph import check_sign, config_of, their_graph
from edgewise.formats.eap_ig_json import eap_ig_document, from_document
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.store.disk import accessible
from edgewise.store.opening import read_bytes, understood
from edgewise.store.schema import dump

# How files of torch begin: archives since 1.6, and bare pickles before.
TORCH_BEGINNINGS = (b"PK\x03\x04", b"\x80")
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".pkl", ".pickle")
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
    check_sign(sign)
    with understood(name):
        return _read(load_pt(read_bytes(path), name), name, graph, sign)


def _read(value: dict[str, Any], name: str, graph: Graph | None, sign: int) -> tuple[Scores, Circuit]:
    theirs = their_graph(config_of(value["cfg"], name), _length(value["src_nodes"]) + _length(value["dst_nodes"]))
    if list(value["src_nodes"]) != list(theirs.writers) or list(value["dst_nodes"]) != list(theirs.readers):
        raise FileError(f"{name}: its nodes do not match its cfg ({theirs})")
    scores, kept = (_matrix(value, key, theirs, name) for key in ("edges_scores", "edges_in_graph"))
    pairs = zip(scores.T[theirs.edge_mask.T].tolist(), kept.T[theirs.edge_mask.T].tolist(), strict=True)
    # NaN: never scored.
    edges = {
        edge: {"score": None if score != score else score, "in_graph": bool(on)}
        for edge, (score, on) in zip(theirs.edges, pairs, strict=True)
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
    theirs = their_graph(config_of(config, "the scores"), len(document["edges"]))
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


def is_of_torch(path: str | os.PathLike[str]) -> bool:
    """Whether torch wrote the file, by its name or its first bytes."""
    with accessible(path):
        if not Path(path).is_file():
            return False
        if Path(path).suffix.lower() in TORCH_SUFFIXES:
            return True
        with Path(path).open("rb") as file:
            begin = file.read(9)
    # The length that safetensors begin with may look like a pickle; then comes JSON.
    return begin.startswith(TORCH_BEGINNINGS) and not begin.endswith(b"{")


def load_pt(data: bytes, name: str) -> dict[str, Any]:
    """The dictionary in a `.pt` file, without running anything in it; FileError if it is none of theirs."""
    try:
        value = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # whatever torch and pickle raise for bytes that are not theirs
        raise FileError(f"{name} {_why_not(data)}") from None
    missing = [key for key in KEYS if not isinstance(value, dict) or key not in value]
    if missing:
        held = f"; it holds {_held(value)}"
        raise FileError(f"{name} is not an EAP-IG file: it has no {' and no '.join(map(repr, missing))}{held}")
    return value


def _length(names: Any) -> int:
    """How many nodes a list names; FileError for what is none."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise FileError("its nodes are not lists of names")
    return len(names)


def _why_not(data: bytes) -> str:
    """Why bytes are not read: what they would have to run, as far as that can be told without running it."""
    try:
        inside = sorted(get_unsafe_globals_in_checkpoint(io.BytesIO(data)))
    except Exception:  # as above
        inside = []
    if not inside:
        return "is damaged, or holds more than tensors and plain values, so it is not read"
    more = ", …" if len(inside) > 3 else ""
    return (
        f"holds more than tensors and plain values: {', '.join(inside[:3])}{more}, which only code in the file could "
        "make, so it is not read; write tensors and plain values, or JSON, such as by the graph's to_json or to_pt"
    )


def _held(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    names = [str(key)[:40] for key in list(value)[:3]]
    return f"{len(value):,} entries ({', '.join(names)}{', …' if len(value) > 3 else ''})"


def _matrix(value: dict[str, Any], key: str, graph: Graph, name: str) -> Tensor:
    found = value[key]
    if not isinstance(found, Tensor) or found.shape != graph.edge_mask.shape:
        raise FileError(f"{name}: {key!r} is not a tensor of shape {tuple(graph.edge_mask.shape)}")
    return found.double()
