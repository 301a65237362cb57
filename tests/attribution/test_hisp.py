"""Head importance: against autograd on masks multiplied into the model, and by hand where the rest is arithmetic."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from support.families import FAMILIES, multiplier, pairs, subject
from torch import Tensor

import edgewise as ew
from edgewise.ablations import ABLATIONS, ablation
from edgewise.attribution.hisp import HISP, edge_values
from edgewise.errors import NumericalError
from edgewise.graph import Graph
from edgewise.metrics import Answers, logit_diff, metric
from edgewise.models import Subject
from edgewise.models.hooks import hooked
from edgewise.pairs import Pairs
from edgewise.progress import silent
from edgewise.request import Request


def request(on: Subject, of: Pairs, how: str = "corrupted") -> Request:
    return Request(on, of, metric("logit_diff"), ablation(how), 2, silent)


def replaced_outputs(on: Subject, of: Pairs, how: str) -> list[tuple[Tensor, Tensor | None]]:
    """Per layer the projections' outputs [example|1, position|1, reader, d_head] and the MLP's, where all is replaced."""
    replacement, found = ablation(how).prepare(on, of, 8)(of), []
    for layer, block in enumerate(on.blocks):
        normed = block.attention_norm(replacement.attention_in[layer])
        outputs = block.projections.split([module(normed) for module in block.projections.modules])
        found.append((outputs, replacement.writes.mlp[layer] / multiplier(on) if on.graph.mlps else None))
    return found


def by_masks(on: Subject, of: Pairs, how: str) -> Tensor:
    """The oracle, [example, reader]: the metric's derivative in masks m on every node: x ← m·x + (1 − m)·replaced."""
    replaced, graph = replaced_outputs(on, of, how), on.graph
    masks = torch.ones(len(of), graph.layers, graph.readers_per_layer, requires_grad=True)

    def mix(mask: Tensor, clean: Tensor, other: Tensor) -> Tensor:
        return mask * clean + (1 - mask) * other

    def at_projection(layer: int, number: int) -> Any:
        projections = on.blocks[layer].projections

        def hook(module: Any, args: Any, output: Tensor) -> Tensor:
            outputs = [
                torch.zeros(*args[0].shape[:2], other.weight.numel() // args[0].shape[-1])
                for other in projections.modules
            ]
            outputs[number] = output
            mask = masks[:, layer, : projections.readers, None][:, None]
            mixed = mix(mask, projections.split(outputs), replaced[layer][0])
            return projections.join(mixed, projections.kv_heads)[number]

        return hook

    def at_mlp(layer: int) -> Any:
        return lambda output: mix(masks[:, layer, -1, None, None], output, replaced[layer][1])

    with ExitStack() as stack:
        for layer, block in enumerate(on.blocks):
            for number, module in enumerate(block.projections.modules):
                stack.callback(module.register_forward_hook(at_projection(layer, number)).remove)
            stack.enter_context(hooked(block.mlp_written(at_mlp(layer))))
        logits = on.logits(of.clean, of.positions)
    value = logit_diff(logits, Answers(of.correct, of.wrong), logits).sum()
    return torch.autograd.grad(value, masks)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ABLATIONS)
def test_importances_are_derivatives_in_node_masks(family: str, how: str) -> None:
    on, of = subject(family), pairs()
    if on.causal:
        of = of.trimmed()
    raw = by_masks(on, of, how).double().abs().sum(dim=0)
    expected = (raw / raw.norm(dim=1, keepdim=True)).flatten()
    found = HISP().importances(request(on, of, how))
    torch.testing.assert_close(found[:-1], expected, rtol=1e-3, atol=1e-4)
    assert float(found[-1]) == 1.0


def test_absolute_values_are_taken_example_by_example() -> None:
    """Two examples that pull a node in opposite directions add up; they would cancel in a mean."""
    on, of = subject("gpt2"), pairs()
    apart = torch.stack([HISP().importances(request(on, of[[i]])) for i in range(len(of))])
    raw = by_masks(on, of, "corrupted")
    assert bool(((raw > 0).any(dim=0) & (raw < 0).any(dim=0)).any())
    assert apart.shape[0] == len(of)
    signed = raw.sum(dim=0).abs()
    found = HISP().importances(request(on, of))[:-1]
    assert not torch.allclose(found.float(), (signed / signed.norm(dim=1, keepdim=True)).flatten(), atol=1e-2)


def test_an_edge_has_the_lesser_importance_of_its_ends() -> None:
    """One layer, one head: q 0.2, k 0.9, v 0.3, MLP 0.6; the head writes with the largest of its three, 0.9."""
    graph = Graph(layers=1, heads=1, kv_heads=1)
    values = edge_values(graph, torch.tensor([0.2, 0.9, 0.3, 0.6, 1.0]))
    found = {edge: float(values[graph.edge_index(edge)]) for edge in graph.edges}
    expected = {
        "input->a0.h0<q>": 0.2,
        "input->a0.h0<k>": 0.9,
        "input->a0.h0<v>": 0.3,
        "input->m0": 0.6,
        "a0.h0->m0": 0.6,
        "input->logits": 1.0,
        "a0.h0->logits": 0.9,
        "m0->logits": 0.6,
    }
    assert found == pytest.approx(expected)


def widest_gap(values: Tensor) -> float:
    """The middle of the widest gap between neighbours in the middle half: no rounding takes a value across it."""
    ordered = values.sort().values[len(values) // 4 : -(len(values) // 4)]
    number = int(ordered.diff().argmax())
    return float(ordered[number : number + 2].mean())


@pytest.mark.parametrize("family", ["gpt2", "llama", "toy-attention-only"])
def test_a_threshold_drops_every_edge_that_touches_a_dropped_node(family: str) -> None:
    on = subject(family)
    graph, scores = on.graph, ew.attribute(on, pairs(), method="hisp")
    importances = HISP().importances(request(on, pairs()))
    threshold = widest_gap(importances)
    dropped = importances < threshold
    assert 0 < int(dropped.sum()) < len(dropped)
    silent_writers = graph.serves.any(dim=0) & ~(graph.serves & ~dropped[:, None]).any(dim=0)
    expected = graph.edge_mask & ~dropped[None, :] & ~silent_writers[:, None]
    assert torch.equal(scores.above(threshold).mask, expected)
    assert scores["input->logits"] == 1.0


def test_a_metric_flat_at_the_clean_run_is_refused() -> None:
    with pytest.raises(NumericalError, match="kl, whose gradient is zero at the clean run"):
        ew.attribute(subject("gpt2"), pairs(), method="hisp", metric="kl")
