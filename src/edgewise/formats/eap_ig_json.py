"""EAP-IG JSON, the format of the EAP-IG library and the MIB benchmark, in both directions.

Three things differ between their files and ours, and are converted here:

- **Sign.** Theirs is the gradient of the metric that was given. With their usual loss (a negated logit difference)
  positive means that the edge helps, as it does here: `sign=1`. For scores made with a metric that is better when
  higher, give `sign=-1`. Their scale also holds a factor 1 / batch size, which nothing in the file tells; the ranking
  is not affected.
- **Grouped key and value heads.** They give every query head its own k and v. The score of a shared k is the sum of
  those of its query heads, so reading sums a group; a shared edge is kept if one of them is. Writing has no unique
  answer: each query head gets score / group size. For a graph with a k and a v for every head (`kv="ungrouped"`) files are
  read as they are, but for those that were divided so when they were written, and those that list shared readers.
- **Input.** Their `input` is the token embedding alone; ours is what enters the first block, positions included.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.errors import EdgewiseError, FileError, GraphMismatch, InvalidValue, UnknownName
from edgewise.formats.eap_ig_graph import (
    ANY_KEY_OR_VALUE,
    KEY_OR_VALUE,
    Config,
    check_sign,
    parse_theirs,
    their_graph,
    ungrouped,
)
from edgewise.graph import ONE_INPUT, Graph
from edgewise.scores import Scores
from edgewise.store.opening import read_bytes, understood
from edgewise.store.schema import dump, validate


class EdgeEntry(BaseModel):
    """One edge."""

    model_config = ConfigDict(extra="ignore")

    score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    in_graph: bool


class EapIgDocument(BaseModel):
    """A file of either age: nodes are objects with `in_graph`, or, until mid-2024, plain booleans."""

    model_config = ConfigDict(extra="ignore")

    cfg: Config
    nodes: dict[str, bool | dict[str, Any]]
    edges: dict[str, EdgeEntry]


@typed
def read_eap_ig(path: str | os.PathLike[str], *, graph: Graph | None = None, sign: int = 1) -> tuple[Scores, Circuit]:
    """Read the scores and the circuit in a JSON file of the EAP-IG library or the MIB benchmark.

    `path`: the file, in either version of the format.
    `graph`: the graph of your model; by default the graph is built from the file, with one k and one v reader for each
    head.
    `sign`: 1 for scores made with a loss, as usual there; -1 for scores made with a metric that is better when higher.

    Returns (Scores, Circuit). Edges that the file does not list score 0 and are not kept; edges of a membership file,
    which lists no scores, score 0. A file that scores only some of its edges is refused. The score of a k or v reader that
    heads share is the sum of their scores in the file. Raises FileError for a damaged file, GraphMismatch for a graph of
    another shape.
    """
    name = os.fspath(path)
    check_sign(sign)
    with understood(name):
        return from_document(parse_theirs(read_bytes(path), name), name, graph=graph, sign=sign)


def from_document(
    value: Mapping[str, Any], name: str, *, graph: Graph | None = None, sign: int = 1
) -> tuple[Scores, Circuit]:
    """The scores and the circuit in a document of the form of their JSON, from the file `name`."""
    document = _checked(value, name)
    graph = _fitting(graph, document, name)
    _refuse_shared(document, name)
    places, entries = _places(graph, document, name), list(document.edges.values())
    _refuse_some_unscored(document, name)
    values = torch.zeros(graph.edge_mask.shape, dtype=torch.float64)
    mask = torch.zeros_like(values)
    if entries:
        values.index_put_(places, torch.tensor([e.score or 0.0 for e in entries], dtype=torch.float64), accumulate=True)
        mask.index_put_(places, torch.tensor([e.in_graph for e in entries], dtype=torch.float64), accumulate=True)
    provenance = _provenance(name, document.cfg, sign)
    return Scores(graph, sign * values, provenance), Circuit(graph, mask > 0, provenance)


@typed
def eap_ig_json(scores: Scores | None, circuit: Circuit | None, *, sign: int = 1, d_model: int | None = None) -> str:
    """Write scores, a circuit, or both as JSON text of the EAP-IG library.

    `scores`: scores of edges; without them, edges of the circuit score 1 and all others 0.
    `circuit`: which edges are kept; without it, none are.
    `sign`: 1, or -1 to write scores for a metric that is better when higher.
    `d_model`: the width of the model, which their reader expects; by default taken from the provenance, or 1.

    Returns the text. A k or v reader that heads share is written once for each head, with its share of the score.
    Raises InvalidValue for what the format cannot hold (infinite scores, two input writers, no MLPs), GraphMismatch for
    different graphs.
    """
    return dump(eap_ig_document(scores, circuit, sign=sign, d_model=d_model), indent=None)


def eap_ig_document(
    scores: Scores | None, circuit: Circuit | None, *, sign: int = 1, d_model: int | None = None
) -> dict[str, Any]:
    """What `eap_ig_json` writes, as a dictionary.

    `scores`, `circuit`, `sign`, `d_model`: as in `eap_ig_json`.
    """
    value = scores if scores is not None else circuit
    if value is None:
        raise InvalidValue("give scores, a circuit, or both")
    if circuit is None:
        circuit = Circuit(value.graph, torch.zeros_like(value.graph.edge_mask))
    if circuit.graph != value.graph:
        raise GraphMismatch(f"the scores and the circuit are of different graphs: {value.graph} and {circuit.graph}")
    if value.graph.inputs != ONE_INPUT:
        raise InvalidValue(
            "EAP-IG files hold graphs with one input writer, but this graph has one each for tokens and positions"
        )
    if scores is not None and not bool(scores.values.isfinite().all()):
        raise InvalidValue(
            "some scores are infinite, which EAP-IG files cannot hold; convert the circuit without scores"
        )
    if not value.graph.mlps:
        raise InvalidValue("EAP-IG files hold graphs with MLPs, but this graph has only attention")
    width = d_model or value.provenance.get("d_model")
    config = _config(value.graph, width, sign, value.provenance)
    nodes = {name: {"in_graph": name in circuit.nodes} for name in value.graph.writers}
    nodes["input"], nodes["logits"] = {"in_graph": True}, {"in_graph": True}
    return {"cfg": config, "nodes": nodes, "edges": dict(_edges(scores, circuit, sign))}


# -- reading ---------------------------------------------------------------------------------------------------------


def _checked(value: Mapping[str, Any], name: str) -> EapIgDocument:
    missing = [key for key in ("cfg", "nodes", "edges") if key not in value]
    if missing:
        raise FileError(f"{name} is not an EAP-IG file: it has no {' and no '.join(map(repr, missing))}")
    return validate(EapIgDocument, value, name)


def _fitting(graph: Graph | None, document: EapIgDocument, name: str) -> Graph:
    """The graph asked for, if the file's shape is its shape; otherwise the file's own."""
    config = document.cfg
    theirs = their_graph(config, len(document.nodes) + len(document.edges))
    if graph is None:
        return theirs
    shape = (graph.layers, graph.heads, graph.parallel, graph.inputs)
    if shape != (theirs.layers, theirs.heads, theirs.parallel, theirs.inputs):
        raise GraphMismatch(f"{name} is of another graph ({theirs}) than the one asked for ({graph})")
    if config.divided not in (None, graph.kv_heads):
        raise GraphMismatch(
            f"{name} was written from {config.divided} k and v readers that {graph.heads} heads share, with their "
            f"scores divided, but the graph asked for has {graph.kv_heads}; ask for one with the same readers"
        )
    return graph


def _refuse_shared(document: EapIgDocument, name: str) -> None:
    """FileError for a file that lists the edges of shared k and v readers: its heads would be taken for query heads."""
    config, edges = document.cfg, document.edges
    listed = len({int(found[1]) for found in map(ANY_KEY_OR_VALUE.search, edges) if found is not None})
    if 0 < listed < config.n_heads and config.n_heads % listed == 0:
        shared = Graph(config.n_layers, config.n_heads, listed, parallel=config.parallel_attn_mlp)
        if len(edges) == shared.n_edges and set(map(shared.current_name, edges)) == set(shared.edges):
            raise FileError(
                f"{name} lists k and v readers that heads share ({listed} for {config.n_heads} heads), but files of this "
                "format have one for every head"
            )


def _refuse_some_unscored(document: EapIgDocument, name: str) -> None:
    """FileError for a file that scores some of its edges: the others, with 0, would be ranked as if they were scored."""
    unscored = [edge for edge, entry in document.edges.items() if entry.score is None]
    if 0 < len(unscored) < len(document.edges):
        raise FileError(
            f"{name}: {len(unscored):,} of {len(document.edges):,} edges were never scored (NaN or null), for example "
            f"{unscored[0]}, so they cannot be ranked; give every edge a score, or none"
        )


def _places(graph: Graph, document: EapIgDocument, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Writer and reader indices of every listed edge, query heads of a group at their shared k and v."""
    group = graph.heads // graph.kv_heads

    def shared(match: re.Match[str]) -> str:
        layer, head, kind = match.groups()
        if int(head) >= graph.heads:
            raise UnknownName(f"it names head {head}, but there are only {graph.heads} (counted from 0)")
        return f"->{graph.current_name(f'a{layer}.h{int(head) // group}<{kind}>')}"

    try:
        pairs = [graph.edge_index(KEY_OR_VALUE.sub(shared, edge)) for edge in document.edges]
    except EdgewiseError as error:
        raise FileError(f"{name}: {error}") from None
    table = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _provenance(name: str, config: Config, sign: int) -> dict[str, Any]:
    source = {"format": "eap-ig", "file": Path(name).name, "sign": sign}
    return {"imported": source, **({"d_model": config.d_model} if config.d_model else {})}


# -- writing ---------------------------------------------------------------------------------------------------------


def _config(graph: Graph, d_model: int | None, sign: int, provenance: Mapping[str, Any]) -> dict[str, Any]:
    mark: dict[str, Any] = {"sign": sign}
    if graph.kv_heads != graph.heads:
        mark["kv_heads"] = graph.kv_heads
        mark["grouped"] = f"k and v scores are those of a shared head divided by {graph.heads // graph.kv_heads}"
    if not d_model:
        mark["d_model"] = "not known; 1 stands in"
    mark["provenance"] = {key: provenance[key] for key in sorted(provenance)}
    shape = {"n_layers": graph.layers, "n_heads": graph.heads, "parallel_attn_mlp": graph.parallel}
    return {**shape, "d_model": d_model or 1, "edgewise": mark}


def _edges(scores: Scores | None, circuit: Circuit, sign: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(their edge name, entry): a shared k or v once for each query head of its group."""
    graph, group = circuit.graph, circuit.graph.heads // circuit.graph.kv_heads
    values = (scores.values if scores is not None else circuit.mask.double()).T.tolist()
    kept = circuit.mask.T.tolist()
    for r, reader in enumerate(graph.readers):
        names = ungrouped(reader, group)
        for w in range(graph.reach(r)):
            entry = {"score": sign * values[r][w] / len(names), "in_graph": kept[r][w]}
            yield from ((f"{graph.writers[w]}->{name}", entry) for name in names)
