"""Hard-concrete gates: the published numbers, and draws as stated; straight-through gates by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from edgewise.graph import Graph
from edgewise.pruning.gate_layout import EdgeGates
from edgewise.pruning.gates import HardConcrete, StraightThrough, soft_mask

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "hard_concrete.json").read_text())
GATES = HardConcrete()
# Five edges of a small graph.
SMALL = Graph(1, 2, 2)
ALLOWED = (
    torch.zeros(SMALL.edge_mask.numel(), dtype=torch.bool)
    .index_fill(0, SMALL.edge_mask.flatten().nonzero().flatten()[:5], True)
    .view_as(SMALL.edge_mask)
)
LAYOUT = EdgeGates(SMALL, ALLOWED)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("function", "name"), [(GATES.closed, "closed"), (GATES.touched, "touched"), (soft_mask, "soft_mask")]
)
def test_the_published_numbers(function: object, name: str) -> None:
    for logit, expected in GOLDEN[name].items():
        value = float(function(torch.tensor(float(logit), dtype=torch.float64)))  # type: ignore[operator]
        assert value == pytest.approx(expected, rel=0.025 if expected < 1e-3 else 0.003)


def test_the_logit_of_a_gate_that_is_nearly_open() -> None:
    assert GATES.logit(0.9) == pytest.approx(GOLDEN["first_logit_of_0.9"], abs=5e-4)
    assert float(GATES.settled(torch.tensor(GATES.logit(0.3)))) == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("logit", [-2.0, 0.0, 0.7, 2.0])
def test_draws_are_closed_and_touched_as_often_as_stated(logit: float) -> None:
    drawn = GATES.draw(torch.full((200_000,), logit), generator())
    at = torch.tensor(logit)
    # Four standard deviations of a share of 200,000 draws are at most 0.0045.
    assert float((drawn == 0).float().mean()) == pytest.approx(float(GATES.closed(at)), abs=0.0045)
    assert float((drawn < 1).float().mean()) == pytest.approx(float(GATES.touched(at)), abs=0.0045)
    assert float(GATES.openness(at) + GATES.closed(at)) == pytest.approx(1)
    assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1


def test_a_draw_by_hand() -> None:
    # s = sigmoid((ln(u / (1 − u)) + logit) · 3/2), stretched to 1.2 s − 0.1 and clipped.
    logits = torch.tensor([-3.0, 0.0, 0.4, 3.0])
    noise = torch.rand(4, generator=generator(3))
    logistic = torch.log(noise / (1 - noise))
    expected = [
        min(1.0, max(0.0, 1.2 / (1 + math.exp(-1.5 * float(a + n))) - 0.1))
        for a, n in zip(logits, logistic, strict=True)
    ]
    assert torch.allclose(GATES.draw(logits, generator(3)), torch.tensor(expected), atol=1e-6)


def test_only_gates_between_0_and_1_have_a_gradient() -> None:
    logits = torch.linspace(-4, 4, 500, requires_grad=True)
    drawn = GATES.draw(logits, generator())
    (gradient,) = torch.autograd.grad(drawn.sum(), logits)
    between = (drawn > 0) & (drawn < 1)
    assert bool(between.any())
    assert bool((~between).any())
    assert torch.equal(gradient != 0, between)


def test_the_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    drawn = GATES.draw(logits, generator())
    assert drawn.tolist() == [0.0, 1.0]
    assert bool(torch.autograd.grad(drawn.sum(), logits)[0].isfinite().all())


# -- straight-through ---------------------------------------------------------------------------------------------------


def straight(logits: torch.Tensor, room: int | None) -> torch.Tensor:
    return StraightThrough().mask(LAYOUT, logits, room, generator(), 1)


def test_the_best_edges_are_open_and_all_others_closed() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.3, 0.0], requires_grad=True)
    for room, opened in ((1, [2]), (2, [2, 0]), (3, [2, 0, 3]), (5, range(5)), (None, range(5))):
        mask = straight(logits, room).detach()
        assert mask[ALLOWED].nonzero().flatten().tolist() == sorted(opened)  # of equal ones the first
        assert torch.equal(mask.unique(), torch.tensor([0.0, 1.0]))
        assert not mask[~ALLOWED].any()


def test_closed_gates_learn_as_open_ones_do() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.1, 0.0], requires_grad=True)
    slopes = torch.arange(float(ALLOWED.numel())).view(ALLOWED.shape)
    (gradient,) = torch.autograd.grad((straight(logits, 2) * slopes).sum(), logits)
    assert torch.equal(gradient, slopes[ALLOWED])
    assert torch.equal(StraightThrough().learning(LAYOUT, straight(logits, 2)), ALLOWED)
    drawn = GATES.mask(LAYOUT, logits - 3, None, generator(), 1)
    assert torch.equal(GATES.learning(LAYOUT, drawn), drawn != 0)
