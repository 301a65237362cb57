"""Circuits made from nodes, cut down by hand, and gone through path by path."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import edgewise as ew
from edgewise.errors import InvalidValue, UnknownName
from edgewise.graph import node_of
from edgewise.reachability import path_name, path_of

GRAPHS = {
    "plain": ew.Graph(layers=2, heads=2, kv_heads=2),
    "grouped": ew.Graph(layers=2, heads=4, kv_heads=2),
    "parallel": ew.Graph(layers=2, heads=2, kv_heads=1, parallel=True),
    "attention only": ew.Graph(layers=3, heads=2, kv_heads=2, mlps=False),
    "two inputs": ew.Graph(layers=2, heads=2, kv_heads=2, inputs=("input", "positions")),
}
ALL_GRAPHS = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)


def some(graph: ew.Graph, seed: int, share: float = 0.3) -> ew.Circuit:
    chance = torch.rand(graph.edge_mask.shape, generator=torch.Generator().manual_seed(seed))
    return ew.Circuit(graph, graph.edge_mask & (chance < share))


def served(graph: ew.Graph, reader: str) -> list[str]:
    """The nodes that a reader takes part in computing, by their names."""
    number = graph.reader_index[reader]
    return [name for name, is_one in zip(graph.writers, graph.serves[number].tolist(), strict=True) if is_one]


# -- from_nodes and without ---------------------------------------------------------------------------------------------


@ALL_GRAPHS
def test_nodes_make_the_circuit_of_all_edges_between_them(graph: ew.Graph) -> None:
    chosen = ["a0.h1", "a1.h0", *(["m1"] if graph.mlps else [])]
    circuit = ew.Circuit.from_nodes(graph, chosen, {"by": "hand"})
    among = {*chosen, *graph.inputs}

    def is_between(edge: str) -> bool:
        writer, _, reader = edge.partition("->")
        return writer in among and (reader == "logits" or bool({*served(graph, reader)} & among))

    assert {*circuit.edges} == {edge for edge in graph.edges if is_between(edge)}
    assert circuit.provenance == {"by": "hand"}
    assert ew.Circuit.from_nodes(graph, graph.writers) == ew.Circuit.full(graph)


def test_the_ends_may_be_named_too_and_what_is_no_node_may_not() -> None:
    graph = GRAPHS["plain"]
    assert ew.Circuit.from_nodes(graph, ("input", "m0", "logits")) == ew.Circuit.from_nodes(graph, ["m0"])
    with pytest.raises(UnknownName, match=r"unknown node 'a0.h1<q>'; did you mean 'a0.h1'"):
        ew.Circuit.from_nodes(graph, ["a0.h1<q>"])
    with pytest.raises(InvalidValue, match="from_nodes: nodes must be a list, each text, not 'm0'"):
        ew.Circuit.from_nodes(graph, "m0")


@ALL_GRAPHS
def test_without_a_node_nothing_leads_out_of_it_or_into_it(graph: ew.Graph) -> None:
    circuit = ew.Circuit.full(graph)
    left = circuit.without("a1.h0", "input->logits")
    # A key or value that heads share belongs to those that stay, too.
    into = {reader for reader in graph.readers if served(graph, reader) == ["a1.h0"]}
    gone = {edge for edge in graph.edges if edge.startswith("a1.h0->") or edge.partition("->")[2] in into}
    assert {*circuit.edges} - {*left.edges} == gone | {"input->logits"}
    assert left.provenance["without"] == ["a1.h0", "input->logits"]
    assert left.without("a1.h1").provenance["without"] == ["a1.h0", "input->logits", "a1.h1"]
    assert circuit.without() == circuit


def test_shared_keys_and_values_go_with_the_last_of_their_heads() -> None:
    graph = GRAPHS["grouped"]
    group = [name for name in graph.writers if name.startswith("a1.h")][:2]
    shared = [reader for reader in graph.readers if served(graph, reader) == group]
    assert len(shared) == 2
    left = ew.Circuit.full(graph).without(*group)
    assert not [edge for edge in left.edges if edge.partition("->")[2] in shared]
    assert ew.Circuit.full(graph).without("logits").without_dangling() == ew.Circuit.from_edges(graph, [])


def test_of_neurons_only_nodes_can_be_left_out() -> None:
    graph = GRAPHS["plain"]
    neurons = ew.Circuit.from_indices(graph, 8, {"input": [1], "m0": [2, 3], "a1.h0": [0]})
    assert neurons.without("m0").indices == {"input": [1], "a1.h0": [0]}
    for part in ("m0->logits", "logits"):
        with pytest.raises(InvalidValue, match="a circuit of neurons has no part"):
            neurons.without(part)


def test_what_cannot_be_left_out_is_refused() -> None:
    circuit = ew.Circuit.full(GRAPHS["plain"])
    for wrong in ("a9.h0", "a0.h0<q>", "m0->a0.h0<q>", ""):
        with pytest.raises(UnknownName):
            circuit.without(wrong)
    with pytest.raises(InvalidValue, match=r"removed must be text, not \['m0'\]"):
        circuit.without(["m0"])  # type: ignore[arg-type]


# -- paths ----------------------------------------------------------------------------------------------------------------


def slow_paths(circuit: ew.Circuit, start: str, end: str) -> set[str]:
    """All paths by an oracle: of a graph with a node for each reader, and one for what each head or MLP writes."""
    graph, whole = circuit.graph, networkx.DiGraph()
    whole.add_nodes_from([*((name, "writes") for name in graph.writers), *((name, "reads") for name in graph.readers)])
    for edge in circuit.edges:
        writer, _, reader = edge.partition("->")
        whole.add_edge((writer, "writes"), (reader, "reads"))
    for reader in graph.readers:
        whole.add_edges_from(((reader, "reads"), (writer, "writes")) for writer in served(graph, reader))
    ends = [(name, "reads") for name in graph.readers if name == end or end in served(graph, name)]

    def written(way: list[tuple[str, str]]) -> Iterator[str]:
        yield way[0][0]
        for (reader, kind), (node, _) in zip(way, [*way[1:], ("", "")], strict=True):
            if kind == "reads":
                yield reader + (f":{node}" if node and len(served(graph, reader)) > 1 else "")

    return {
        "->".join(written(way)) for last in ends for way in networkx.all_simple_paths(whole, (start, "writes"), last)
    }


@ALL_GRAPHS
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), ends=st.sampled_from([("input", "logits"), ("a0.h1", "logits"), ("input", "a1.h1")]))
def test_paths_are_those_of_the_oracle_shortest_first(graph: ew.Graph, seed: int, ends: tuple[str, str]) -> None:
    circuit = some(graph, seed)
    found = circuit.paths(*ends, limit=100_000)
    assert len({*found}) == len(found)
    assert {*found} == slow_paths(circuit, *ends)
    lengths = [path.count("->") for path in found]
    assert lengths == sorted(lengths)
    assert circuit.paths(*ends, limit=3) == found[:3]


@ALL_GRAPHS
def test_a_path_is_text_that_is_read_back(graph: ew.Graph) -> None:
    for text in some(graph, 5).paths(limit=50):
        edges = path_of(graph, text)
        assert path_name(graph, edges) == text
        assert path_of(graph, [graph.edge_name(*edge) for edge in edges]) == edges


def test_a_reader_has_its_old_name_too() -> None:
    full = ew.Circuit.full(GRAPHS["grouped"])
    assert full.paths("input", "a0.kv1<v>") == full.paths("input", "a0.h1<v>") == ("input->a0.kv1<v>",)
    old, new = "input->a0.h1<v>:a0.h2->logits", "input->a0.kv1<v>:a0.h2->logits"
    assert path_of(full.graph, old) == path_of(full.graph, new)
    assert new in full.paths(limit=1000)


def test_a_path_may_end_at_one_reader() -> None:
    graph = GRAPHS["plain"]
    found = ew.Circuit.full(graph).paths("a0.h0", "a1.h1<k>")
    assert found == ("a0.h0->a1.h1<k>", "a0.h0->m0->a1.h1<k>")
    assert ew.Circuit.full(graph).paths("m1", "a0.h0") == ()
    assert node_of(found[0].rpartition("->")[2]) == "a1.h1"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("input->a0.h1->logits", "say which input of the head: a0.h1<q>"),
        ("input->a0.h0<k>->logits", r"a0.kv0<k> is shared by a0.h0, a0.h1; .* goes on from: a0.kv0<k>:a0.h0"),
        ("input->a0.kv0<k>->logits", r"goes on from: a0.kv0<k>:a0.h0"),
        ("input->a0.kv0<k>:a0.h3->logits", "the second does not begin where the first ends"),
        ("input->a0.h9<k>->logits", "unknown reader"),
        ("m1->m0->logits", "m1 is not computed before m0"),
        ("input->logits->m1", "unknown writer 'logits'"),
        (["input->m0", "m1->logits"], "'input->m0' and 'm1->logits' are no path"),
        ([], "at least one edge"),
    ],
    ids=str,
)
def test_what_is_no_path_is_refused(path: str | list[str], message: str) -> None:
    with pytest.raises(ew.EdgewiseError, match=message):
        path_of(GRAPHS["grouped"], path)


def test_where_there_is_no_node_there_is_no_path() -> None:
    circuit = ew.Circuit.full(GRAPHS["plain"])
    with pytest.raises(UnknownName, match="unknown node to start from 'logits'"):
        circuit.paths("logits", "m1")
    with pytest.raises(UnknownName, match=r"unknown node to end at 'a9\.h1'"):
        circuit.paths("input", "a9.h1")
    with pytest.raises(InvalidValue, match="limit=0: ask for at least 1 path"):
        circuit.paths(limit=0)
    with pytest.raises(InvalidValue, match="paths: limit must be a whole number, not 'x'"):
        circuit.paths(limit="x")  # type: ignore[arg-type]


def test_a_circuit_is_a_value_still() -> None:
    circuit = some(GRAPHS["grouped"], 3).without("m0")
    assert pickle.loads(pickle.dumps(circuit)) == circuit  # noqa: S301
