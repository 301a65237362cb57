"""Circuit: set algebra, dangling edges against a slow twin, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable

import networkx as nx
import pytest
import torch
from hypothesis import given
from support.strategies import circuit_triples, circuits, graphs

from edgewise.circuit import Circuit, live_writers
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.graph import SEPARATE_INPUTS, Graph

TINY = Graph(layers=2, heads=2, kv_heads=1)
PLAIN = Graph(layers=2, heads=2, kv_heads=2)


def _circuit(graph: Graph, *edges: str) -> Circuit:
    return Circuit.from_edges(graph, edges)


# -- the slow twin ----------------------------------------------------------------------------------------------------


def _heads_fed_by(graph: Graph, reader: str) -> list[str]:
    """The writers that `reader` takes part in computing, from its name alone."""
    node = re.fullmatch(r"a(\d+)\.(?:h|kv)(\d+)<([qkv])>", reader)
    if node is None:
        return [] if reader == "logits" else [reader]
    layer, head, kind = node.groups()
    group = 1 if kind == "q" else graph.heads // graph.kv_heads
    return [f"a{layer}.h{h}" for h in range(graph.heads) if h // group == int(head)]


def _network(graph: Graph, edges: Iterable[str]) -> nx.DiGraph:
    """Kept edges between ("writes", name) and ("reads", name), and from each reader to the nodes it is part of.

    The q, k and v of a head are pooled this way: whatever reaches one of them reaches the head's output. A k or v
    reader that several query heads share leads to all of them.
    """
    network = nx.DiGraph()
    network.add_nodes_from(("writes", writer) for writer in graph.writers)
    for reader in graph.readers:
        network.add_node(("reads", reader))
        network.add_edges_from((("reads", reader), ("writes", node)) for node in _heads_fed_by(graph, reader))
    for edge in edges:
        writer, reader = edge.split("->")
        network.add_edge(("writes", writer), ("reads", reader))
    return network


def _edges_on_a_path(circuit: Circuit) -> set[str]:
    network = _network(circuit.graph, circuit.edges)
    after_input = {end for start in _inputs(circuit) for end in (start, *nx.descendants(network, start))}
    before_logits = nx.ancestors(network, ("reads", "logits")) | {("reads", "logits")}
    pairs = ((edge, *edge.split("->")) for edge in circuit.edges)
    return {edge for edge, w, r in pairs if ("writes", w) in after_input and ("reads", r) in before_logits}


def _inputs(circuit: Circuit) -> list[tuple[str, str]]:
    return [("writes", writer) for writer in circuit.graph.writers if writer in ("input", "positions")]


def _reached_from_input(circuit: Circuit) -> list[bool]:
    network = _network(circuit.graph, circuit.edges)
    starts = _inputs(circuit)
    return [any(nx.has_path(network, s, ("writes", w)) for s in starts) for w in circuit.graph.writers]


@given(circuits())
def test_without_dangling_keeps_the_edges_on_a_path(circuit: Circuit) -> None:
    assert set(circuit.without_dangling().edges) == _edges_on_a_path(circuit)


@given(circuits())
def test_live_writers_are_those_that_input_reaches(circuit: Circuit) -> None:
    assert circuit.live_writers.tolist() == _reached_from_input(circuit)
    assert torch.equal(live_writers(circuit.graph, circuit.mask), circuit.live_writers)


@given(circuits())
def test_has_path_says_whether_input_reaches_logits(circuit: Circuit) -> None:
    network = _network(circuit.graph, circuit.edges)
    assert circuit.has_path == any(nx.has_path(network, start, ("reads", "logits")) for start in _inputs(circuit))


@given(circuits())
def test_without_dangling_is_a_part_and_idempotent(circuit: Circuit) -> None:
    once = circuit.without_dangling()
    assert once <= circuit
    assert once.without_dangling() == once
    assert once.has_path == circuit.has_path == bool(once.edges)


@given(circuits())
def test_nodes_are_the_ends_of_edges(circuit: Circuit) -> None:
    ends = {edge.split("->")[0] for edge in circuit.edges}
    ends |= {node for edge in circuit.edges for node in _heads_fed_by(circuit.graph, edge.split("->")[1])}
    assert circuit.nodes == tuple(writer for writer in circuit.graph.writers if writer in ends)


# -- dangling edges by hand -------------------------------------------------------------------------------------------


def test_an_edge_into_q_carries_on_through_the_head() -> None:
    circuit = _circuit(PLAIN, "input->a0.h0<q>", "a0.h0->logits")
    assert circuit.without_dangling() == circuit


def test_a_shared_key_carries_on_through_each_head_of_its_group() -> None:
    circuit = _circuit(TINY, "input->a0.kv0<k>", "a0.h1->m1", "m1->logits")
    assert circuit.without_dangling() == circuit
    assert circuit.nodes == ("input", "a0.h0", "a0.h1", "m1")


def test_a_key_of_its_own_carries_on_through_one_head() -> None:
    circuit = _circuit(PLAIN, "input->a0.h0<k>", "a0.h1->m1", "m1->logits")
    assert circuit.without_dangling().edges == ()
    assert not circuit.has_path


def test_edges_out_of_an_unfed_node_and_into_a_dead_end_are_dropped() -> None:
    path = ("input->m0", "m0->logits")
    circuit = _circuit(PLAIN, *path, "a1.h1->logits", "input->a1.h0<v>", "a0.h0->a1.h0<v>")
    assert circuit.without_dangling() == _circuit(PLAIN, *path)


def test_a_mask_of_any_number_counts_what_is_not_zero() -> None:
    mask = torch.zeros(PLAIN.edge_mask.shape)
    mask[PLAIN.edge_index("input->m0")] = 1e-9
    mask[PLAIN.edge_index("m0->m1")] = -0.5
    names = [w for w, on in zip(PLAIN.writers, live_writers(PLAIN, mask).tolist(), strict=True) if on]
    assert names == ["input", "m0", "m1"]


# -- sets -------------------------------------------------------------------------------------------------------------


@given(circuit_triples())
def test_algebra_is_that_of_sets_of_names(triple: tuple[Circuit, Circuit, Circuit]) -> None:
    a, b, _ = triple
    left, right = set(a.edges), set(b.edges)
    assert set((a | b).edges) == left | right
    assert set((a & b).edges) == left & right
    assert set((a - b).edges) == left - right
    assert set((a ^ b).edges) == left ^ right
    assert (a <= b) == (left <= right)
    assert (a == b) == (left == right)
    assert len(a) == len(left)


@given(circuit_triples())
def test_laws_of_set_algebra(triple: tuple[Circuit, Circuit, Circuit]) -> None:
    a, b, c = triple
    assert a | b == b | a
    assert a & b == b & a
    assert a & (b | c) == (a & b) | (a & c)
    assert a - (b | c) == (a - b) & (a - c)
    assert a ^ b == (a - b) | (b - a)
    assert (a & b) <= a <= (a | b)
    assert a - a == a ^ a == Circuit.from_edges(a.graph, [])


@given(circuit_triples())
def test_jaccard_is_a_share(triple: tuple[Circuit, Circuit, Circuit]) -> None:
    a, b, _ = triple
    union = set(a.edges) | set(b.edges)
    assert a.jaccard(b) == (len(set(a.edges) & set(b.edges)) / len(union) if union else 1.0)
    assert a.jaccard(a) == 1.0


@given(circuits())
def test_names_and_mask_say_the_same(circuit: Circuit) -> None:
    again = Circuit.from_edges(circuit.graph, reversed(circuit.edges))
    assert again == circuit
    assert hash(again) == hash(circuit)
    assert all(edge in circuit for edge in circuit.edges)
    order = [circuit.graph.edges.index(edge) for edge in circuit.edges]
    assert order == sorted(order)


@given(graphs())
def test_full_and_empty(graph: Graph) -> None:
    full, empty = Circuit.full(graph), Circuit.from_edges(graph, [])
    assert len(full) == graph.n_edges
    assert full.edges == graph.edges
    assert full.nodes == graph.writers
    assert full.without_dangling() == full
    assert len(empty) == 0
    assert empty.nodes == ()
    assert empty <= full
    assert full.live_writers.all()
    inputs = len(graph.inputs)
    assert empty.live_writers.tolist() == [True] * inputs + [False] * (len(graph.writers) - inputs)


def test_a_node_that_only_positions_reach_is_live() -> None:
    graph = Graph(1, 1, 1, inputs=SEPARATE_INPUTS)
    circuit = Circuit.from_edges(graph, ["positions->a0.h0<q>", "a0.h0->logits", "m0->logits"])
    assert circuit.live_writers.tolist() == [True, True, True, False]
    assert circuit.has_path
    assert circuit.without_dangling().edges == ("positions->a0.h0<q>", "a0.h0->logits")
    assert circuit.nodes == ("positions", "a0.h0", "m0")


def test_an_edge_the_circuit_lacks_is_not_in_it() -> None:
    assert "m0->logits" not in _circuit(PLAIN, "input->logits")


def test_a_circuit_is_no_string() -> None:
    assert _circuit(PLAIN, "input->logits") != "input->logits"


# -- a value ----------------------------------------------------------------------------------------------------------


def test_the_circuit_keeps_its_own_mask() -> None:
    mask = PLAIN.edge_mask.clone()
    circuit = Circuit(PLAIN, mask)
    mask.zero_()
    assert len(circuit) == PLAIN.n_edges


def test_a_float_mask_keeps_what_is_not_zero() -> None:
    mask = torch.zeros(PLAIN.edge_mask.shape, requires_grad=True)
    with torch.no_grad():
        mask[PLAIN.edge_index("m0->logits")] = 0.25
    circuit = Circuit(PLAIN, mask)
    assert circuit.edges == ("m0->logits",)
    assert circuit.mask.dtype == torch.bool


def test_provenance_is_read_only_and_follows() -> None:
    entries = {"method": "eap"}
    circuit = Circuit(PLAIN, PLAIN.edge_mask, entries)
    entries["method"] = "changed"
    assert circuit.provenance == {"method": "eap"}
    assert circuit.without_dangling().provenance == {"method": "eap"}
    assert circuit.with_provenance(seed=1).provenance == {"method": "eap", "seed": 1}
    with pytest.raises(TypeError):
        circuit.provenance["method"] = "other"  # pyright: ignore[reportIndexIssue]


def test_circuits_of_other_origin_with_the_same_edges_are_equal() -> None:
    circuit = _circuit(PLAIN, "input->logits")
    assert circuit.with_provenance(method="acdc") == circuit


def test_provenance_of_a_combination_is_empty() -> None:
    circuit = _circuit(PLAIN, "input->logits").with_provenance(method="acdc")
    assert (circuit | circuit).provenance == {}


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(GraphMismatch, match=re.escape("the mask has shape (2, 3), but the graph needs (7, 15)")):
        Circuit(PLAIN, torch.ones(2, 3))


def test_a_mask_that_keeps_what_is_no_edge_is_refused() -> None:
    with pytest.raises(InvalidValue, match="pairs that are not edges"):
        Circuit(PLAIN, torch.ones(PLAIN.edge_mask.shape))


def test_an_unknown_edge_is_refused() -> None:
    with pytest.raises(UnknownName, match="unknown edge 'm0->logit'"):
        _circuit(PLAIN, "m0->logit")
    with pytest.raises(UnknownName, match="unknown writer 'm7'"):
        assert "m7->logits" in Circuit.full(PLAIN)


@pytest.mark.parametrize("operation", ["__or__", "__and__", "__sub__", "__xor__", "__le__", "jaccard"])
def test_circuits_of_two_graphs_do_not_mix(operation: str) -> None:
    message = "the circuits are of different graphs: 2 layers, 2 heads: 46 edges and 2 layers, 2 heads (1 kv): 36 edges"
    with pytest.raises(GraphMismatch, match=re.escape(message)):
        getattr(Circuit.full(PLAIN), operation)(Circuit.full(TINY))


def test_equal_masks_of_two_graphs_are_two_circuits() -> None:
    graphs = Graph(1, 1, 1), Graph(1, 1, 1, parallel=True)
    first, second = (_circuit(graph, "input->logits") for graph in graphs)
    assert torch.equal(first.mask, second.mask)
    assert first != second


# -- text -------------------------------------------------------------------------------------------------------------


def test_describe_names_the_denominator() -> None:
    circuit = _circuit(PLAIN, "input->m0", "m0->logits")
    assert circuit.describe() == f"2 of {PLAIN.n_edges} edges ({2 / PLAIN.n_edges:.2%}), 2 of 7 writers"
    assert repr(circuit) == f"<Circuit: {circuit.describe()}>"


def test_describe_announces_a_missing_path() -> None:
    text = _circuit(PLAIN, "m0->logits").describe()
    assert text.endswith("; no path from input to logits")
