"""Queries and keys taken exactly through attention: against one masked attention after the other."""

from __future__ import annotations

import pytest
import torch
from support.families import FAMILIES, distance, make_subject, pairs, subject, toy_config
from support.path_oracle import batch_of, clean_of, deltas
from torch import Tensor

import edgewise as ew
from edgewise.models import Subject
from edgewise.models.hooks import OnOutput, hooked


def attention_out(on: Subject, layer: int, slot: int, less: Tensor) -> Tensor:
    """What the attention of a layer writes on the clean prompts when one of its readers gets `less` subtracted."""
    block, of, seen = on.blocks[layer], batch_of(on, pairs()).pairs, []
    clean = clean_of(batch_of(on, pairs())).attention_in[layer]

    def changed(number: int, output: Tensor) -> Tensor:
        modules = block.projections.modules
        normed = [block.attention_norm(x) for x in (clean, clean - less)]
        before, after = (block.projections.split([module.forward(x) for module in modules]) for x in normed)
        mixed = before.clone()
        mixed[:, :, slot] = after[:, :, slot]
        return block.projections.join(mixed, block.projections.kv_heads)[number]

    hooks = [
        OnOutput(module, lambda output, number=number: changed(number, output))
        for number, module in enumerate(block.projections.modules)
    ]
    after = block.output if block.attention_post is None else block.attention_post.module
    with torch.no_grad(), hooked([*hooks, OnOutput(after, lambda x: seen.append(x))]):
        on.logits(of.clean, of.positions)
    return seen[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edge_into_a_query_or_key_changes_the_attention_exactly(family: str) -> None:
    on, of = subject(family), pairs()
    graph, batch, layer = on.graph, batch_of(on, of), on.graph.layers - 1
    # The last layer's attention: behind it only the MLP of the layer and the last norm.
    after = (
        on.blocks[layer].output if on.blocks[layer].attention_post is None else on.blocks[layer].attention_post.module
    )
    leaf: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        leaf.append(x.detach().requires_grad_())
        return leaf[0]

    with torch.enable_grad(), hooked([OnOutput(after, keep)]):
        logits = on.logits(batch.pairs.clean, batch.pairs.positions)
        gradient = torch.autograd.grad(batch.objective(logits, logits.detach()).sum(), leaf[0])[0]
    scores, eap = (ew.attribute(on, of, method=method) for method in ("atp-qk", "eap"))
    difference = deltas(batch).unflatten(1, batch.pairs.clean.shape)
    before = attention_out(on, layer, 0, torch.zeros_like(difference[0]))
    for reader in (graph.q_readers(layer).start + 1, graph.k_readers(layer).start):
        slot = reader - graph.q_readers(layer).start
        expected = [
            float(((before - attention_out(on, layer, slot, less)) * gradient).sum()) / len(of)
            for less in difference[: graph.reach(reader)]
        ]
        found = scores.values[: graph.reach(reader), reader]
        assert distance(found, torch.tensor(expected)) < 1e-3
        assert distance(found, eap.values[: graph.reach(reader), reader]) > 0.01


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_everything_else_is_eap(family: str) -> None:
    on = subject(family)
    scores, eap = (ew.attribute(on, pairs(), method=method).values for method in ("atp-qk", "eap"))
    other = torch.ones(len(on.graph.readers), dtype=torch.bool)
    for layer in range(on.graph.layers):
        other[on.graph.q_readers(layer)] = other[on.graph.k_readers(layer)] = False
    torch.testing.assert_close(scores[:, other], eap[:, other], rtol=1e-4, atol=1e-6)


def test_it_sees_through_a_saturated_softmax() -> None:
    """Attention scores made thirty times as large: EAP has no gradient left at queries, the exact effect is there."""
    on = make_subject(toy_config(mlps=False))
    for block in on.blocks:
        block.projections.modules[0].weight.data *= 30
    exact, ours, eap = (ew.attribute(on, pairs(), method=method) for method in ("exact", "atp-qk", "eap"))
    queries = torch.cat([torch.arange(len(on.graph.readers))[on.graph.q_readers(layer)] for layer in range(3)])
    errors = [float((scores.values - exact.values)[:, queries].abs().sum()) for scores in (ours, eap)]
    assert errors[0] < 0.7 * errors[1]
