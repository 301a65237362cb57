"""Descent: its effects are the derivatives of the masked run in the mask, example by example."""

from __future__ import annotations

import pytest
import torch
from support.families import CONFIGS, FAMILIES, LINEAR, POST_NORMED, distance, make_subject, pairs, subject
from torch import Tensor

from edgewise.ablations import ablation as find_ablation
from edgewise.engine.cached import CachedFrontier, frontier
from edgewise.engine.forward import masked_forward
from edgewise.models import Subject
from edgewise.pairs import Pairs


def ready(on: Subject, ablation: str) -> tuple[CachedFrontier, Pairs, Tensor]:
    of = on.ready(pairs())
    replacement = find_ablation(ablation).prepare(on, of, len(of))(of)
    with torch.no_grad():
        front = frontier(on, of, replacement)
    assert isinstance(front, CachedFrontier)
    cotangent = torch.randn(front.clean_logits.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return front, of, cotangent.to(front.clean_logits)


def derivatives(front: CachedFrontier, of: Pairs, cotangent: Tensor) -> Tensor:
    """[example, writer, reader]: the derivative of Σ cotangent · logits in each example's own mask, at the frontier's."""
    mask = front.mask.to(cotangent).expand(1, len(of), -1, -1).clone().requires_grad_()
    logits = masked_forward(front.subject, of.clean, of.positions, mask, front.replacement)
    return torch.autograd.grad((logits[0] * cotangent).sum(), mask)[0][0]


def places(front: CachedFrontier) -> list[int]:
    """A reader of each place, in the order of a search."""
    graph = front.graph
    found = [len(graph.readers) - 1]
    for layer in reversed(range(graph.layers)):
        found += [graph.mlp_reader(layer)] if graph.mlps else []
        found += [graph.k_readers(layer).start]
    return found


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in POST_NORMED])
@pytest.mark.parametrize("ablation", ["corrupted", "zero"])
def test_effects_are_derivatives_in_the_mask(family: str, ablation: str) -> None:
    on = subject(family, torch.float64)
    front, of, cotangent = ready(on, ablation)
    expected = derivatives(front, of, cotangent)
    descent = front.descent(cotangent[:3])
    for reader in places(front):
        with torch.no_grad():
            readers, values = descent.effects(reader)
        assert distance(values, expected[:3, : front.graph.reach(reader), readers]) < 1e-9


@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
@pytest.mark.parametrize("family", ["gpt2", "llama", "neox-parallel", "toy-attention-only"])
def test_in_half_precision_they_are_nearly_those_and_sums_stay_in_float32(
    family: str, dtype: torch.dtype, error: float
) -> None:
    front, _, cotangent = ready(make_subject(CONFIGS[family](), dtype=dtype), "corrupted")
    exact, of, wide = ready(subject(family, torch.float64), "corrupted")
    expected, descent = derivatives(exact, of, wide), front.descent(cotangent)
    for reader in places(front):
        with torch.no_grad():
            readers, values = descent.effects(reader)
        assert values.dtype == torch.float32
        true = expected[:, : front.graph.reach(reader), readers]
        assert float((values - true).norm()) < error * float(true.norm())


def test_it_goes_through_what_is_kept() -> None:
    front, of, cotangent = ready(make_subject(LINEAR, dtype=torch.float64), "corrupted")
    descent, generator = front.descent(cotangent), torch.Generator().manual_seed(0)
    for reader in places(front):
        front.settle()
        with torch.no_grad():
            readers, values = descent.effects(reader)
        # All is linear here, so it does not matter at which values of what comes before the derivative is taken.
        expected = derivatives(front, of, cotangent)[:, : front.graph.reach(reader), readers]
        assert distance(values, expected) < 1e-9
        gone = torch.rand(front.mask[:, readers].shape, generator=generator) < 0.3
        front.mask[:, readers] &= ~gone


def test_nodes_that_nobody_reads_are_left_out() -> None:
    front, _, cotangent = ready(subject("gpt2"), "corrupted")
    graph, descent = front.graph, front.descent(cotangent)
    front.mask[graph.head_writers(2).start + 1] = False
    front.mask[graph.mlp_writer(2)] = False
    front.settle()
    with torch.no_grad():
        readers, _ = descent.effects(graph.q_readers(2).start)
    assert [graph.readers[reader] for reader in readers] == [
        f"a2.h{head}<{kind}>" for kind in "qkv" for head in (0, 2, 3)
    ]
