"""The contraction's parts, beside autograd taken reader by reader."""

from __future__ import annotations

import pytest
import torch
from support.all_gradients import Collected, collected
from support.families import FAMILIES, distance, pairs, subject
from torch import Tensor

from edgewise.attribution.contraction import _groups
from edgewise.attribution.reader_gradients import ReaderGradients
from edgewise.engine.gradients import live_run
from edgewise.engine.record import Recording, record
from edgewise.models import Subject


def objective(logits: Tensor) -> Tensor:
    return (logits[:, 3] - logits[:, 5]).sum()


def by_autograd(on: Subject, gradients: Collected, clean: Recording, layer: int) -> Tensor:
    """[reader, token, d_model]: for each reader the derivative of its own norm and projection, nothing shared."""
    block, pulled = on.blocks[layer], []
    stream, at_heads = gradients.streams["heads", layer].flatten(0, 1), gradients.at_heads[layer].flatten(0, 1)
    for slot in range(block.projections.readers):
        weight, bias = block.projections.rows([slot])
        x = stream.clone().requires_grad_()
        out = block.attention_norm(x) @ weight[0].T + (0 if bias is None else bias[0])
        pulled.append(torch.autograd.grad(out, x, at_heads[:, slot])[0])
    if block.mlp_norm is not None:
        x = clean.mlp_in[layer].clone().requires_grad_()
        with torch.enable_grad():
            out = block.mlp_write(x)
        pulled.append(torch.autograd.grad(out, x, gradients.at_mlp_out[layer])[0].flatten(0, 1))
    return torch.stack(pulled)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_pulled_back_as_autograd_does(family: str) -> None:
    on, of = subject(family), pairs()
    gradients, slopes = collected(on, of, objective), ReaderGradients(on)
    tokens, clean = of.clean.numel(), record(on, of.clean, of.positions)
    with live_run(on, of.clean, of.positions, objective) as run:
        run.last_gradients(slopes.taker())
    for readers, _ in _groups(on.graph, 2):
        out = torch.empty(readers.stop - readers.start, tokens, on.d_model)
        slopes.into(out, readers, slice(0, tokens))
        if on.final_norm.centred:
            out -= out.mean(dim=-1, keepdim=True)  # the contraction centres the writers instead
        layers = range(readers.start // on.graph.readers_per_layer, readers.stop // on.graph.readers_per_layer)
        expected = torch.cat([by_autograd(on, gradients, clean, layer) for layer in layers])
        assert distance(out, expected) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_hold_every_reader_but_the_logits_once(family: str) -> None:
    graph = subject(family).graph
    readers = [r for group, _ in _groups(graph, 2) for r in range(group.start, group.stop)]
    assert readers == list(range(len(graph.readers) - 1))
    assert all(graph.reach(r) <= reach for group, reach in _groups(graph, 2) for r in range(group.start, group.stop))
