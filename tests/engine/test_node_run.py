"""node_run beside the masked run whose mask says the same, edge by edge."""

from __future__ import annotations

import pytest
import torch
from support.families import FAMILIES, distance, pairs, subject
from torch import Tensor

from edgewise.ablations import ablation
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.node_run import node_run
from edgewise.models import Subject

NEAR = 1e-5


def gates(on: Subject, *, whole: bool) -> Tensor:
    """A gate for each writer, 0, 1 or, unless they are `whole`, between; those of the inputs are open."""
    drawn = torch.rand(len(on.graph.writers), generator=torch.Generator().manual_seed(3))
    drawn = (drawn > 0.5).float() if whole else drawn
    drawn[: len(on.graph.inputs)] = 1
    return drawn


def by_edges(on: Subject, drawn: Tensor, how: str) -> Tensor:
    """The same by a mask over edges."""
    of = pairs()
    mask = Mask((drawn[:, None] * on.graph.edge_mask)[None], candidates=on.graph.edge_mask)
    return masked_forward(on, of.clean, of.positions, mask, ablation(how).prepare(on, of, 8)(of))[0]


def by_nodes(on: Subject, drawn: Tensor, how: str) -> Tensor:
    of = pairs()
    return node_run(on, of.clean, of.positions, drawn, ablation(how).prepare(on, of, 8)(of))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["corrupted", "zero", "mean"])
def test_a_run_of_whole_nodes_is_a_masked_run(family: str, how: str) -> None:
    on = subject(family)
    for whole in (True, False):
        drawn = gates(on, whole=whole)
        assert distance(by_nodes(on, drawn, how), by_edges(on, drawn, how)) < NEAR


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_closed_nodes_have_the_gradient_of_nodes_that_are_hardly_open(family: str, how: str) -> None:
    on = subject(family)
    closed, last = gates(on, whole=True), slice(len(on.graph.inputs), None)
    # A replaced head is no part of a norm that spans its layer, one that is hardly open is: closed ones are compared as such.
    ajar = closed if on.heads_share_norm else closed.clamp(min=1e-6)
    slopes = []
    for run, at in ((by_nodes, closed), (by_edges, ajar)):
        leaf = at.clone().requires_grad_()
        logits = run(on, leaf, how)
        wanted = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).to(logits)
        slopes.append(torch.autograd.grad((logits * wanted).sum(), leaf)[0][last])
    assert float(slopes[0].abs().max()) > 0
    assert on.heads_share_norm or bool(slopes[0][closed[last] == 0].any())
    assert distance(*slopes) < 10 * NEAR
