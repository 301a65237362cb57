"""Ensembles of scores: means of values and of ranks by hand, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

import edgewise as ew
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.graph import Graph
from edgewise.scores import Scores

GRAPH = Graph(layers=1, heads=1, kv_heads=1)  # 8 edges


def scores_of(*values: float, **provenance: object) -> Scores:
    table = torch.zeros(GRAPH.edge_mask.shape)
    table[GRAPH.edge_mask] = torch.tensor(values, dtype=torch.float32)
    return Scores(GRAPH, table, provenance)


def on_edges(scores: Scores) -> list[float]:
    return scores.values[GRAPH.edge_mask].tolist()


ONE = scores_of(1, 2, 3, 4, 5, 6, 7, -80, method="eap", metric="logit_diff", seconds=1)
TWO = scores_of(0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, -0.1, method="relp", metric="logit_diff", seconds=2)


def test_the_mean_of_values() -> None:
    assert on_edges(ew.ensemble([ONE, TWO], "value")) == pytest.approx([0.9, 1.35, 1.8, 2.25, 2.7, 3.15, 3.6, -40.05])


def test_the_mean_of_ranks() -> None:
    """Sizes of the first rank 1 … 8, of the second 8 … 1; the sum of the ranks is 9 everywhere, over 2 · 8 edges."""
    expected = [9 / 16] * 7 + [-9 / 16]
    assert on_edges(ew.ensemble([ONE, TWO])) == pytest.approx(expected)


def test_ranks_do_not_know_scales_and_keep_infinity() -> None:
    larger = Scores(GRAPH, TWO.values * 1e6)
    torch.testing.assert_close(ew.ensemble([ONE, larger]).values, ew.ensemble([ONE, TWO]).values)
    endless = scores_of(*[1.0] * 7, math.inf)
    assert on_edges(ew.ensemble([endless]))[-1] == 1.0
    with pytest.raises(InvalidValue, match="infinite"):
        ew.ensemble([endless], "value")


def test_the_provenance_tells_the_members_and_what_they_share() -> None:
    found = ew.ensemble([ONE, TWO]).provenance
    assert (found["method"], found["mean"], found["metric"]) == ("ensemble", "rank", "logit_diff")
    assert [member["method"] for member in found["members"]] == ["eap", "relp"]
    assert "seconds" not in found


def test_refusals() -> None:
    other = Graph(layers=2, heads=1, kv_heads=1)
    with pytest.raises(GraphMismatch, match="of different graphs"):
        ew.ensemble([ONE, Scores(other, torch.zeros(other.edge_mask.shape))])
    with pytest.raises(InvalidValue, match="at least one"):
        ew.ensemble([])
    with pytest.raises(UnknownName, match="did you mean 'rank'"):
        ew.ensemble([ONE], "rnk")
