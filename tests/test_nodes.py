"""Scores of nodes and neurons: against autograd at the writers' outputs, and the circuits they select."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.families import FAMILIES, distance, pairs, subject
from support.path_oracle import batch_of, deltas
from support.thinned import thinned
from torch import Tensor

import edgewise as ew
from edgewise.engine.tiling import PROCESSOR, using_tiling
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.graph import Graph
from edgewise.metrics import Answers, logit_diff
from edgewise.models import Subject
from edgewise.neurons import edges_between
from edgewise.old_names import NodeScores

every_family = pytest.mark.parametrize("family", FAMILIES)


def by_autograd(on: Subject) -> Tensor:
    """[writer, d_model]: difference of each writer times the gradient in a zero added to what its sublayer writes."""
    batch = batch_of(on, pairs())
    of, zeros, handles = batch.pairs, [], []
    shape = (*of.clean.shape, on.d_model)

    def add(module: torch.nn.Module, zero: Tensor) -> None:
        handles.append(module.register_forward_hook(lambda _, args, output: output + zero))

    for block in on.blocks:
        # Behind a norm after the sublayer, where the residual stream takes it.
        zeros += [torch.zeros(shape, requires_grad=True), torch.zeros(shape, requires_grad=True)]
        of_heads, of_mlp = (block.divided(zero) for zero in zeros[-2:])
        add(block.output if block.attention_post is None else block.attention_post.module, of_heads)
        handles += [hook.attach() for hook in block.mlp_written(lambda out, zero=of_mlp: out + zero)]
    start = torch.zeros(shape, requires_grad=True)
    first = on.blocks[0].module.register_forward_pre_hook(
        lambda _, args, kwargs: ((args[0] + start, *args[1:]), kwargs), with_kwargs=True
    )
    logits = on.logits(of.clean, of.positions)
    value = logit_diff(logits, Answers(of.correct, of.wrong), logits).sum() / len(of)
    gradients = torch.autograd.grad(value, [start, *zeros], materialize_grads=True, allow_unused=True)
    for handle in (first, *handles):
        handle.remove()
    rows = [gradients[0]] * len(on.graph.inputs)
    for layer in range(on.graph.layers):
        rows += [gradients[1 + 2 * layer]] * on.graph.heads + [gradients[2 + 2 * layer]] * on.graph.mlps
    return (deltas(batch) * torch.stack(rows).flatten(1, 2)).sum(dim=1)


@every_family
def test_neurons_are_scored_by_the_gradient_at_the_output_of_their_writer(family: str) -> None:
    found = ew.attribute_nodes(subject(family), pairs(), method="eap", batch_size=2)
    assert found.neurons is not None
    assert distance(found.neurons, by_autograd(subject(family))) < 1e-4


@pytest.mark.parametrize(
    ("method", "family"), thinned([(method,) for method in ("eap", "eap-ig", "relp", "gim")], FAMILIES, one_in=2)
)
def test_a_node_scores_the_sum_of_its_neurons_and_of_its_edges(family: str, method: str) -> None:
    on, of = subject(family), pairs()
    nodes = ew.attribute_nodes(on, of, method=method)
    edges = ew.attribute(on, of, method=method)
    assert nodes.neurons is not None
    torch.testing.assert_close(nodes.neurons.sum(dim=1), nodes.values, rtol=1e-4, atol=1e-5)
    assert distance(NodeScores.of(edges).values, nodes.values) < 1e-4
    assert nodes["a1.h2"] == float(nodes.values[on.graph.writer_index["a1.h2"]])


def test_the_work_is_cut_into_pieces() -> None:
    expected = ew.attribute_nodes(subject("llama"), pairs()).values
    with using_tiling(replace(PROCESSOR, chunk_bytes=20_000)):
        found = ew.attribute_nodes(subject("llama"), pairs()).values
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


# -- circuits ---------------------------------------------------------------------------------------------------------

GRAPH = Graph(layers=1, heads=2, kv_heads=1)


def test_a_circuit_of_nodes_has_all_edges_between_them() -> None:
    """a0.h1 and m0 stay, a0.h0 goes: its own q with it, the shared k and v not."""
    scores = NodeScores(GRAPH, torch.tensor([0.0, 0.5, -3.0, 2.0]))
    circuit = scores.top(2)
    readers = ("a0.h1<q>", "a0.kv0<k>", "a0.kv0<v>", "m0", "logits")
    expected = {f"input->{reader}" for reader in readers} | {"a0.h1->m0", "a0.h1->logits", "m0->logits"}
    assert set(circuit.edges) == expected
    assert circuit.provenance["selection"] == {"nodes": 2, "absolute": True}
    assert scores.top(1, absolute=False).nodes == ("input", "m0")


def test_all_nodes_are_the_whole_graph_and_none_the_edge_from_input_to_logits() -> None:
    everything = torch.ones(len(GRAPH.writers), dtype=torch.bool)
    assert ew.Circuit(GRAPH, edges_between(GRAPH, everything)) == ew.Circuit.full(GRAPH)
    assert NodeScores(GRAPH, torch.zeros(4)).top(0).edges == ("input->logits",)


def test_refusals() -> None:
    scores = NodeScores(GRAPH, torch.zeros(4))
    with pytest.raises(InvalidValue, match="asked for 4 nodes, but the graph has 3"):
        scores.top(4)
    with pytest.raises(UnknownName, match=r"unknown writer 'a0\.h9'"):
        scores["a0.h9"]
    with pytest.raises(GraphMismatch):
        NodeScores(GRAPH, torch.zeros(5))
    for method in ("exact", "hisp", "mask-ig", "acdc"):
        with pytest.raises(InvalidValue, match=f"{method} scores no nodes"):
            ew.attribute_nodes(subject("toy"), pairs(), method=method)
