"""masked_forward beside its slow, obvious twin, and its variants among themselves."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.families import (
    FAMILIES,
    corrupted_run,
    distance,
    pairs,
    random_circuit,
    random_mask,
    subject,
    without_jumps,
)
from support.masked_twin import slow
from torch import Tensor

from edgewise.ablations import ablation
from edgewise.circuit import Circuit
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.tiling import PROCESSOR, using_tiling
from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import GraphMismatch, NumericalError
from edgewise.models import Subject

NEAR = 1e-5
every_family = pytest.mark.parametrize("family", FAMILIES)


def fast(on: Subject, mask: Tensor | Mask, how: str = "corrupted", **options: Any) -> Tensor:
    of = pairs()
    return masked_forward(on, of.clean, of.positions, mask, ablation(how).prepare(on, of, 8)(of), **options)


@every_family
def test_the_twin_with_everything_kept_is_the_model(family: str) -> None:
    on, of = subject(family), pairs()
    assert distance(slow(family, on.graph.edge_mask), on.logits(of.clean, of.positions)) < NEAR


@every_family
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_equal_on_fractional_masks(family: str, how: str) -> None:
    on = subject(family)
    mask = random_mask(on, seed=5)
    assert distance(fast(on, mask, how), slow(family, mask, how)) < NEAR


@every_family
@pytest.mark.parametrize("how", ["corrupted", "zero"])
@pytest.mark.parametrize("density", [0.08, 0.25, 0.7])
def test_equal_on_circuits(family: str, how: str, density: float) -> None:
    on = subject(family)
    circuit = random_circuit(on, density, seed=6)
    assert distance(fast(on, circuit.mask, how), slow(family, circuit.mask, how)) < NEAR


# -- variants of the engine among themselves ----------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("how", ["corrupted", "position-mean"])
def test_masks_on_the_batch_axis_are_masks_one_by_one(family: str, how: str) -> None:
    on = subject(family)
    masks = torch.stack([random_circuit(on, density, seed=7).mask.float() for density in (0.0, 0.1, 0.3, 1.0)])
    masks = torch.cat([masks, random_mask(on, 8)[None].float()])
    together = fast(on, masks, how)
    assert together.shape == (5, 5, 50)
    for one, mask in zip(together, masks, strict=True):
        assert distance(one, fast(on, mask, how)) < NEAR


@every_family
def test_sparse_walking_is_dense_walking(family: str) -> None:
    on = subject(family)
    for density in (0.03, 0.1, 0.3):
        circuit = random_circuit(on, density, seed=9)
        dense = fast(on, Mask(circuit.mask.float(), candidates=on.graph.edge_mask))
        assert distance(fast(on, circuit.mask), dense) < NEAR


@every_family
def test_candidates_beyond_the_mask_change_nothing(family: str) -> None:
    on = subject(family)
    circuit, more = random_circuit(on, 0.2, seed=10), random_circuit(on, 0.5, seed=11)
    expected = fast(on, circuit.mask)
    assert distance(fast(on, Mask(circuit.mask.float(), candidates=(circuit | more).mask)), expected) < NEAR


@every_family
def test_a_reused_workspace_leaks_nothing(family: str) -> None:
    """Runs of other sizes, and one that fails, before the same run again."""
    on, of, workspace = subject(family), pairs(), Workspace()
    circuit = random_circuit(on, 0.3, seed=12)
    expected = fast(on, circuit.mask)
    replacement = corrupted_run(on, of)
    for mask in (on.graph.edge_mask, random_circuit(on, 0.05, 13).mask, random_mask(on, 14).expand(3, -1, -1)):
        fast(on, mask, workspace=workspace)
    with pytest.raises(NumericalError):
        fast(on, on.graph.edge_mask * torch.nan, workspace=workspace)
    again = masked_forward(on, of.clean, of.positions, circuit.mask, replacement, workspace=workspace)
    assert torch.equal(again, expected)


@every_family
def test_gradients_are_those_of_finite_differences(family: str) -> None:
    """float64 where the model is; a few edges, of every kind of reader."""
    on, of = without_jumps(family), pairs()[:2]
    replacement, graph = corrupted_run(on, of), on.graph
    probe = torch.randn(2, 50, generator=torch.Generator().manual_seed(15), dtype=torch.float64)

    def value(mask: Tensor) -> Tensor:
        return (masked_forward(on, of.clean, of.positions, mask, replacement) * probe).sum()

    mask = random_mask(on, 16).requires_grad_()
    gradient = torch.autograd.grad(value(mask), mask)[0]
    assert not gradient[~graph.edge_mask].any()
    step, largest = 1e-2, float(gradient.abs().max())
    for edge in graph.edges[:: len(graph.edges) // 9]:
        nudge = torch.zeros_like(mask)
        nudge[graph.edge_index(edge)] = step
        with torch.no_grad():
            measured = (value(mask + nudge) - value(mask - nudge)) / (2 * step)
        assert abs(float(measured - gradient[graph.edge_index(edge)])) < 2e-3 * largest


@every_family
def test_gradients_over_a_batch_of_masks_are_those_one_by_one(family: str) -> None:
    on = subject(family, torch.float64)
    masks = torch.stack([random_mask(on, seed) for seed in (17, 18, 19)]).requires_grad_()
    together = torch.autograd.grad(fast(on, masks).square().sum(), masks)[0]
    for one, expected in zip(masks.detach(), together, strict=True):
        alone = one.clone().requires_grad_()
        assert distance(torch.autograd.grad(fast(on, alone).square().sum(), alone)[0], expected) < NEAR


def masks_of_each(on: Subject, dtype: torch.dtype) -> Tensor:
    """Two masks for each of the five examples, [2, example, writer, reader]: nothing, some edges, degrees of all, of none."""
    some = [random_circuit(on, density, seed=20).mask.to(dtype) for density in (0.0, 0.05, 0.2, 0.6, 1.0)]
    more = [random_mask(on, seed, dtype) for seed in (21, 22)]
    more += [random_mask(on, seed, dtype) * random_circuit(on, 0.3, seed).mask for seed in (23, 24, 25)]
    return torch.stack([torch.stack(some), torch.stack(more)])


@every_family
@pytest.mark.parametrize("how", ["corrupted", "position-mean"])
def test_masks_of_each_example_are_examples_one_by_one(family: str, how: str) -> None:
    on, of = subject(family), pairs()
    masks = masks_of_each(on, torch.float32)
    together = fast(on, masks, how)
    assert together.shape == (2, 5, 50)
    for number in range(2):
        for example in range(5):
            mask = masks[number, example]
            expected = fast(on, mask, how)[example]
            assert distance(together[number, example], expected) < NEAR, (number, example)
    assert not torch.allclose(together[0], together[1])
    with pytest.raises(GraphMismatch, match="for 4 examples, but there are 5"):
        masked_forward(on, of.clean, of.positions, masks[:, :4], corrupted_run(on, of))


@every_family
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_gradients_of_masks_of_each_example_are_those_one_by_one(family: str, how: str) -> None:
    on = subject(family, torch.float64)
    masks = masks_of_each(on, torch.float64)
    together = gradient_of_each(on, masks, how)
    for example in range(5):
        alone = masks[:, example].clone().requires_grad_()
        value = fast(on, Mask(alone, candidates=on.graph.edge_mask), how)[:, example].square().sum() * (example + 1)
        expected = torch.autograd.grad(value, alone)[0]
        assert float((together[:, example] - expected).abs().max()) < NEAR * float(together.abs().max()), example


def gradient_of_each(on: Subject, masks: Tensor, how: str) -> Tensor:
    """Of a sum over all examples that tells them apart."""
    masks = masks.clone().requires_grad_()
    weights = torch.arange(1.0, 6.0, dtype=masks.dtype)[:, None]
    return torch.autograd.grad((fast(on, masks, how).square() * weights).sum(), masks)[0]


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
@pytest.mark.parametrize("size", [4_000, 60_000])
def test_masks_of_each_example_in_pieces(family: str, size: int) -> None:
    """In pieces of single examples, and of some."""
    on = subject(family, torch.float64)
    masks = masks_of_each(on, torch.float64)
    expected = fast(on, masks), gradient_of_each(on, masks, "corrupted")
    with using_tiling(replace(PROCESSOR, chunk_bytes=size)):
        found = fast(on, masks), gradient_of_each(on, masks, "corrupted")
    assert distance(found[0], expected[0]) < NEAR
    assert distance(found[1], expected[1]) < NEAR


def test_masks_of_each_example_that_are_the_same_are_one_mask() -> None:
    on = subject("gpt2")
    mask = random_mask(on, 26, torch.float32)
    assert distance(fast(on, mask.expand(1, 5, -1, -1))[0], fast(on, mask)) < NEAR


def test_late_nodes_at_unequal_answer_positions() -> None:
    """A circuit in which all that runs is needed at the answers alone: values and queries of the last layer, its MLP."""
    for family in ("toy", "gpt2", "llama", "gemma2"):
        on = subject(family)
        edges = ["input->a2.h0<q>", "input->a2.h1<v>", "a2.h0->m2", "a2.h2->logits", "m2->logits", "input->logits"]
        mask = Circuit.from_edges(on.graph, edges).mask
        assert distance(fast(on, mask), slow(family, mask)) < NEAR
        assert distance(fast(on, mask.expand(1, 5, -1, -1))[0], slow(family, mask)) < NEAR


def test_a_mask_of_another_graph_is_refused() -> None:
    with pytest.raises(GraphMismatch, match="the mask has shape"):
        fast(subject("gpt2"), torch.ones(2, 3))


def test_a_run_with_a_gradient_is_freed_when_it_is_over() -> None:
    """The board and the graph that made it must not hold each other: no collector sees through autograd's nodes."""
    from edgewise.engine.writer_buffer import WriterBuffer

    def boards() -> list[WriterBuffer]:
        gc.collect()
        return [thing for thing in gc.get_objects() if type(thing) is WriterBuffer]

    on, of = subject("gpt2"), pairs()
    replacement, mask = corrupted_run(on, of), random_mask(on, 0, torch.float32).requires_grad_()
    others = boards()  # of tests before this one in the same process: held here, so that none of them is counted below
    for _ in range(3):
        out = masked_forward(on, of.clean, of.positions, mask, replacement)
        torch.autograd.grad(out.sum(), mask)
        del out
    assert len(boards()) == len(others)
