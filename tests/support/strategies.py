"""What property tests draw: small graphs of every kind, circuits and scores on them."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.graph import ONE_INPUT, SEPARATE_INPUTS, Graph
from edgewise.scores import Scores


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to 3 layers of up to 4 heads: grouped or not, parallel or not, with or without MLPs, with one input or two."""
    heads, kv_heads = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (3, 3), (4, 2), (4, 1)]))
    traits = {"parallel": draw(st.booleans()), "mlps": draw(st.booleans())}
    inputs = draw(st.sampled_from([ONE_INPUT, SEPARATE_INPUTS]))
    return Graph(draw(st.integers(1, 3)), heads, kv_heads, **traits, inputs=inputs)


def _noise(draw: st.DrawFn, graph: Graph) -> Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    return torch.rand(graph.edge_mask.shape, generator=generator)


def _mask(draw: st.DrawFn, graph: Graph) -> Tensor:
    density = draw(st.sampled_from([0.0, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0]))
    return (_noise(draw, graph) < density) & graph.edge_mask


@st.composite
def circuits(draw: st.DrawFn) -> Circuit:
    """A random circuit of random density, from empty to full."""
    graph = draw(graphs())
    return Circuit(graph, _mask(draw, graph))


@st.composite
def circuit_triples(draw: st.DrawFn) -> tuple[Circuit, Circuit, Circuit]:
    """Three random circuits of one graph."""
    graph = draw(graphs())
    a, b, c = (Circuit(graph, _mask(draw, graph)) for _ in range(3))
    return a, b, c


@st.composite
def scores(draw: st.DrawFn) -> Scores:
    """Random scores: continuous, or so coarse that many tie; some infinite."""
    graph = draw(graphs())
    values = _noise(draw, graph) * 2 - 1
    if draw(st.booleans()):
        values = (values * 3).round() / 3
    if draw(st.booleans()):
        values[_noise(draw, graph) < 0.1] = torch.inf
        values[_noise(draw, graph) < 0.1] = -torch.inf
    return Scores(graph, values)
