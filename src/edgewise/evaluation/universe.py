"""What is counted when a circuit is compared with a known one: edges or nodes, and which of them.

A *level* turns values on the edges, [writer, reader], into one value for each thing counted: the largest of the edges
that make it present. So it maps the mask of a circuit to what the circuit has, and scores to the threshold at which
each thing enters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.errors import UnknownName
from edgewise.graph import Graph

Level = Callable[[Graph, Tensor], Tensor]


def edges(graph: Graph, values: Tensor) -> Tensor:
    """[edge]: the edges of the residual stream, in the order of `Graph.edges`. GPT-2 small: 32,491."""
    return values.T[graph.edge_mask.T]


def counted_edges(graph: Graph, values: Tensor) -> Tensor:
    """[edge + reader]: the edges, and for each q, k and v reader one "direct" edge, there when the reader has an edge.

    The count of the ACDC paper (Conmy et al. 2023, arXiv:2304.14997): 3·layers·heads more. GPT-2 small: 32,923.
    """
    return torch.cat([edges(graph, values), _read(values, _attention(graph))])


def nodes(graph: Graph, values: Tensor) -> Tensor:
    """[node]: `input`, each head's q, k, v and output, each MLP (reading or writing), `logits`. GPT-2 small: 590."""
    written, mlps = values.amax(dim=1), range(graph.layers if graph.mlps else 0)
    for layer in mlps:
        place = graph.mlp_writer(layer)
        written[place] = torch.maximum(written[place], values[:, graph.mlp_reader(layer)].amax())
    return torch.cat([_read(values, [*_attention(graph), -1]), written])


def published_nodes(graph: Graph, values: Tensor) -> Tensor:
    """[node]: as the ACDC paper's code counts: q, k and v twice (input and result), an MLP only if it writes.

    Seven nodes for a head. GPT-2 small: 1,022.
    """
    attention = _attention(graph)
    return torch.cat([_read(values, [*attention, *attention, -1]), values.amax(dim=1)])


UNIVERSES: dict[str, Level] = {
    "edges": edges,
    "counted-edges": counted_edges,
    "nodes": nodes,
    "published-nodes": published_nodes,
}


def level(name: str) -> Level:
    """The level of that name; UnknownName, with the nearest known one, if there is none."""
    if name not in UNIVERSES:
        raise UnknownName.of("level", name, UNIVERSES)
    return UNIVERSES[name]


def denominators(circuit: Circuit) -> dict[str, tuple[int, int]]:
    """For every level, how many things the circuit has and how many there are.

    >>> denominators(Circuit.from_edges(Graph(1, 2, 2), ["input->a0.h1<v>", "a0.h1->logits"]))["counted-edges"]
    (3, 19)
    """
    present = {name: one(circuit.graph, circuit.mask) for name, one in UNIVERSES.items()}
    return {name: (int(units.sum()), units.numel()) for name, units in present.items()}


def _attention(graph: Graph) -> list[int]:
    """Indices of all q, k and v readers."""
    places = [graph.attention_readers(layer) for layer in range(graph.layers)]
    return [reader for place in places for reader in range(place.start, place.stop)]


def _read(values: Tensor, readers: list[int]) -> Tensor:
    """[reader]: the largest value of the edges into each."""
    return values.amax(dim=0)[readers]
