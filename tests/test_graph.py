"""Graph: published counts, index order, names, and what a reader reaches."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from support.strategies import graphs

from edgewise.errors import InvalidValue, UnknownName
from edgewise.graph import SEPARATE_INPUTS, Graph, layer_of, node_of

GPT2 = Graph(layers=12, heads=12, kv_heads=12)
TINY = Graph(layers=2, heads=2, kv_heads=1)


# -- counts -----------------------------------------------------------------------------------------------------------

PUBLISHED = {
    # name: (graph, writers, readers, edges)
    "gpt2-small": (GPT2, 157, 445, 32_491),
    "gpt2-xl": (Graph(48, 25, 25), 1249, 3649, 2_235_025),
    "pythia-160m": (Graph(12, 12, 12, parallel=True), 157, 445, 32_347),
    "pythia-2.8b": (Graph(32, 32, 32, parallel=True), 1057, 3105, 1_591_857),
    "gemma-2-2b": (Graph(26, 8, 4), 235, 443, 50_610),
    "gemma-2-2b ungrouped": (Graph(26, 8, 8), 235, 651, 74_218),
    "qwen2.5-0.5b": (Graph(24, 14, 2), 361, 457, 79_813),
    "qwen2.5-0.5b ungrouped": (Graph(24, 14, 14), 361, 1033, 179_749),
    "llama-3-8b": (Graph(32, 32, 8), 1057, 1569, 805_681),
    "llama-3-8b ungrouped": (Graph(32, 32, 32), 1057, 3105, 1_592_881),
    "interpbench-ioi": (Graph(6, 4, 4), 31, 79, 1_108),
    # The two compiled models of the ACDC paper, token and position embedding apart, without its edges inside heads.
    "tracr-proportion": (Graph(2, 1, 1, inputs=SEPARATE_INPUTS), 6, 9, 32),
    "tracr-reverse": (Graph(4, 1, 1, inputs=SEPARATE_INPUTS), 10, 17, 94),
    # One layer of one head and an MLP: q, k, v <- input; m0 <- input, a0.h0; logits <- input, a0.h0, m0.
    "by hand": (Graph(1, 1, 1), 3, 5, 8),
    "by hand, parallel": (Graph(1, 1, 1, parallel=True), 3, 5, 7),
    "by hand, attention only": (Graph(1, 1, 1, mlps=False), 2, 4, 5),
}


@pytest.mark.parametrize(("graph", "writers", "readers", "edges"), PUBLISHED.values(), ids=list(PUBLISHED))
def test_sizes(graph: Graph, writers: int, readers: int, edges: int) -> None:
    assert (len(graph.writers), len(graph.readers), graph.n_edges) == (writers, readers, edges)


# -- index order ------------------------------------------------------------------------------------------------------


def test_writers_of_a_grouped_model_in_order() -> None:
    assert TINY.writers == ("input", "a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1")


def test_separate_inputs_come_first() -> None:
    graph = Graph(1, 1, 1, inputs=SEPARATE_INPUTS)
    assert graph.writers == ("input", "positions", "a0.h0", "m0")
    assert graph.readers == Graph(1, 1, 1).readers
    assert graph != Graph(1, 1, 1)
    assert (
        str(graph) == "1 layers, 1 heads, separate positions: 13 edges"
    )  # q, k, v read 2 writers each, m0 3, logits 4


def test_readers_of_a_grouped_model_in_order() -> None:
    layer = ("a{0}.h0<q>", "a{0}.h1<q>", "a{0}.kv0<k>", "a{0}.kv0<v>", "m{0}")
    assert TINY.readers == (*(name.format(0) for name in layer), *(name.format(1) for name in layer), "logits")


def test_attention_only_models_have_no_mlp_names() -> None:
    graph = Graph(2, 1, 1, mlps=False)
    assert graph.writers == ("input", "a0.h0", "a1.h0")
    assert graph.readers == ("a0.h0<q>", "a0.h0<k>", "a0.h0<v>", "a1.h0<q>", "a1.h0<k>", "a1.h0<v>", "logits")


@pytest.mark.parametrize("layer", [0, 5, 11])
@pytest.mark.parametrize("head", [0, 7, 11])
def test_published_index_formulas(layer: int, head: int) -> None:
    """Writers: a{l}.h{h} = 1 + l(H+1) + h; readers: l(3H+1) + {0,1,2}H + h for q, k, v (EAP-IG, MIB)."""
    heads = GPT2.heads
    assert GPT2.writer_index[f"a{layer}.h{head}"] == 1 + layer * (heads + 1) + head
    assert GPT2.writer_index[f"m{layer}"] == 1 + layer * (heads + 1) + heads
    for kind, name in enumerate("qkv"):
        assert GPT2.reader_index[f"a{layer}.h{head}<{name}>"] == layer * (3 * heads + 1) + kind * heads + head
    assert GPT2.reader_index[f"m{layer}"] == layer * (3 * heads + 1) + 3 * heads
    assert GPT2.reader_index["logits"] == len(GPT2.readers) - 1


@given(graphs())
def test_the_places_of_a_layer_carry_their_names(graph: Graph) -> None:
    for layer in range(graph.layers):
        heads = [f"a{layer}.h{h}" for h in range(graph.heads)]
        shared = heads if graph.kv_heads == graph.heads else [f"a{layer}.kv{h}" for h in range(graph.kv_heads)]
        queries, keys, values = (
            [f"{h}<{kind}>" for h in hs] for kind, hs in zip("qkv", (heads, shared, shared), strict=True)
        )
        assert list(graph.writers[graph.head_writers(layer)]) == heads
        assert list(graph.readers[graph.q_readers(layer)]) == queries
        assert list(graph.readers[graph.k_readers(layer)]) == keys
        assert list(graph.readers[graph.v_readers(layer)]) == values
        assert list(graph.readers[graph.attention_readers(layer)]) == [*queries, *keys, *values]
        if graph.mlps:
            assert graph.writers[graph.mlp_writer(layer)] == f"m{layer}"
            assert graph.readers[graph.mlp_reader(layer)] == f"m{layer}"


# -- edges ------------------------------------------------------------------------------------------------------------


def test_all_edges_of_the_smallest_model() -> None:
    assert Graph(1, 1, 1).edges == (
        "input->a0.h0<q>",
        "input->a0.h0<k>",
        "input->a0.h0<v>",
        "input->m0",
        "a0.h0->m0",
        "input->logits",
        "a0.h0->logits",
        "m0->logits",
    )


@given(graphs())
def test_names_and_indices_are_inverse(graph: Graph) -> None:
    assert len(set(graph.edges)) == len(graph.edges) == graph.n_edges
    for edge in graph.edges:
        assert graph.edge_name(*graph.edge_index(edge)) == edge
    assert all(graph.writers[i] == name for name, i in graph.writer_index.items())
    assert all(graph.readers[i] == name for name, i in graph.reader_index.items())


@given(graphs())
def test_edge_mask_is_reach(graph: Graph) -> None:
    assert graph.edge_mask.dtype == torch.bool
    assert int(graph.edge_mask.sum()) == graph.n_edges
    for reader in range(len(graph.readers)):
        reach = graph.reach(reader)
        assert graph.edge_mask[:reach, reader].all()
        assert not graph.edge_mask[reach:, reader].any()


def _computed_before(graph: Graph, writer: str, reader: str) -> bool:
    """Slow twin of the edge relation, from the names alone: a block is attention, then MLP, unless it is parallel."""

    def place(node: str) -> float:
        if node in (*graph.inputs, "logits"):
            return float(graph.layers) if node == "logits" else -1.0
        layer = int(re.findall(r"\d+", node)[0])
        return layer + (0.5 if node.startswith("m") and not graph.parallel else 0.0)

    return place(writer) < place(reader)


@given(graphs())
def test_names_of_earlier_versions_are_the_same_readers(graph: Graph) -> None:
    """Keys and values that heads share were named as if they were those of the first so many heads."""
    for reader in graph.readers:
        earlier = reader.replace(".kv", ".h") if reader in _shared(graph) else reader
        assert graph.current_name(earlier) == graph.current_name(reader) == reader
        assert graph.edge_index(f"input->{earlier}") == graph.edge_index(f"input->{reader}")
        assert graph.current_name(f"a0.h0,m0->{earlier}") == f"a0.h0,m0->{reader}"
        assert graph.current_name(f"->{earlier}") == f"->{reader}"


@given(graphs())
def test_nobody_takes_a_shared_key_or_value_for_that_of_one_head(graph: Graph) -> None:
    alone = {reader for reader in graph.readers if node_of(reader) in (*graph.writers, "logits")}
    assert set(graph.readers) - alone == _shared(graph)
    assert all(graph.serves[graph.reader_index[reader]].sum() > 1 for reader in _shared(graph))


def _shared(graph: Graph) -> set[str]:
    """The readers of keys and values that several heads have."""
    return {name for name in graph.readers if ".kv" in name} if graph.kv_heads < graph.heads else set()


@given(graphs())
def test_an_edge_leads_from_what_is_computed_before(graph: Graph) -> None:
    for w, writer in enumerate(graph.writers):
        for r, reader in enumerate(graph.readers):
            assert bool(graph.edge_mask[w, r]) == _computed_before(graph, writer, reader), (writer, reader)


@given(graphs())
def test_a_reader_serves_its_own_node(graph: Graph) -> None:
    group = graph.heads // graph.kv_heads
    for r, reader in enumerate(graph.readers):
        served = {graph.writers[int(w)] for w in graph.serves[r].nonzero()}
        if reader == "logits":
            assert served == set()
        elif reader.endswith(("<k>", "<v>")):
            layer, kv = (int(i) for i in re.findall(r"\d+", reader))
            assert served == {f"a{layer}.h{kv * group + i}" for i in range(group)}
        else:
            assert served == {node_of(reader)}


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 3, 2), (-1, 2, 2), (1, 2, 4)])
def test_impossible_shapes_are_refused(shape: tuple[int, int, int]) -> None:
    layers, heads, kv_heads = shape
    with pytest.raises(InvalidValue, match=f"kv_heads must divide heads; got {layers}, {heads}, {kv_heads}"):
        Graph(*shape)


UNKNOWN = {
    "a0.h0": "an edge is written writer->reader, for example",
    "": "an edge is written writer->reader",
    "a9.h9->logits": "unknown writer 'a9.h9'",
    "imput->logits": "unknown writer 'imput'; did you mean 'input'?",
    "input->logit": "unknown reader 'logit'; did you mean 'logits'?",
    "input->a1.h1": "say which input of the head: a1.h1<q>, a1.kv0<k> or a1.kv0<v>",
    "input->a1.h1<k>": "say which input of the head: a1.h1<q>, a1.kv0<k> or a1.kv0<v>",  # one kv-head
    "input->a1.kv1<k>": "unknown reader 'a1.kv1<k>'; did you mean 'a1.kv0<k>'?",
    "input->a1.h7<k>": "unknown reader 'a1.h7<k>'",
    "m1->m1": "m1 is not computed before m1",
    "a1.h0->a0.h0<q>": "a1.h0 is not computed before a0.h0<q>",
    "m0 -> logits": "unknown writer 'm0 '; did you mean 'm0'?",
}


@pytest.mark.parametrize(("edge", "reason"), UNKNOWN.items(), ids=list(UNKNOWN))
def test_an_unknown_edge_is_named_with_the_reason(edge: str, reason: str) -> None:
    with pytest.raises(UnknownName, match=re.escape(reason)) as caught:
        TINY.edge_index(edge)
    assert str(caught.value).startswith(f"unknown edge {edge!r}: ")


def test_the_mlp_of_a_parallel_block_does_not_read_its_heads() -> None:
    assert Graph(1, 1, 1).edge_index("a0.h0->m0") == (1, 3)
    with pytest.raises(UnknownName, match=re.escape("a0.h0 is not computed before m0")):
        Graph(1, 1, 1, parallel=True).edge_index("a0.h0->m0")


# -- a value ----------------------------------------------------------------------------------------------------------


def test_a_graph_is_a_value() -> None:
    assert Graph(2, 2, 1) == TINY
    assert hash(Graph(2, 2, 1)) == hash(TINY)
    assert Graph(2, 2, 2) != TINY
    with pytest.raises(FrozenInstanceError):
        TINY.layers = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_using_a_graph_does_not_change_its_identity() -> None:
    used = Graph(2, 2, 1)
    assert used.edges
    assert used.serves.any()
    assert used == Graph(2, 2, 1)


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (GPT2, "12 layers, 12 heads: 32,491 edges"),
        (Graph(12, 12, 12, parallel=True), "12 layers, 12 heads, parallel: 32,347 edges"),
        (Graph(26, 8, 4), "26 layers, 8 heads (4 kv): 50,610 edges"),
        (Graph(1, 1, 1, mlps=False), "1 layers, 1 heads, attention only: 5 edges"),
    ],
)
def test_the_text_of_a_graph_names_its_traits(graph: Graph, text: str) -> None:
    assert str(graph) == text


@given(graphs())
def test_layers_and_nodes_of_names(graph: Graph) -> None:
    for layer in range(graph.layers):
        for reader in graph.readers[graph.attention_readers(layer)]:
            assert layer_of(reader) == layer
            assert node_of(reader) in graph.writer_index or reader in _shared(graph)
        assert all(layer_of(w) == layer for w in graph.writers[graph.head_writers(layer)])
    assert layer_of("input") < 0
    assert layer_of("positions") < 0
    assert layer_of("logits") >= graph.layers
