"""Versions: what changes in some trials is the same as when every trial holds its own."""

from __future__ import annotations

import pytest
import torch

from edgewise.search.incremental.versions import Group, Versions

BEFORE = torch.tensor([[0.0]])


@pytest.mark.parametrize(
    ("versions", "everywhere"),
    [
        (Versions(0, torch.tensor([[1.0]])), [1]),  # one that stands for all
        (Versions(2, torch.tensor([[1.0], [2.0]])), [0, 0, 1, 2, 2]),
        (Versions(2, torch.tensor([[1.0], [2.0]]), returns=True), [0, 0, 1, 2, 0]),
        (Versions(0, torch.tensor([[1.0]]), returns=True), [1, 0, 0, 0, 0]),
        (Versions(3, torch.tensor([[1.0], [2.0], [3.0]])), [0, 0, 0, 1, 2]),  # one more than there are trials
    ],
)
def test_everywhere(versions: Versions, everywhere: list[float]) -> None:
    assert versions.everywhere(5, BEFORE).flatten().tolist() == everywhere
    for trial, value in enumerate(everywhere if len(everywhere) > 1 else []):
        at = versions.at(trial)
        assert (0 if at is None else float(at)) == value


def test_a_group_in_which_something_returns_and_something_does_not() -> None:
    # Of five trials the first changes slot 0 for good, the third slot 1 for itself alone.
    changed = {0: Versions(0, torch.tensor([[[1.0]]])), 1: Versions(2, torch.tensor([[[5.0]]]), returns=True)}
    group = Group([0], [0, 1], changed)
    out = torch.empty(group.count, 1, 2, 1)
    group.fill(out, torch.zeros(2, 1, 1), lambda slot: torch.tensor([0]))
    assert out[:, 0, :, 0].tolist() == [[1, 0], [1, 0], [1, 5], [1, 0]]
    assert not group.returns
    assert Versions(group.first, out[:, 0, 1], group.returns).everywhere(5, BEFORE).flatten().tolist() == [
        0,
        0,
        5,
        0,
        0,
    ]
