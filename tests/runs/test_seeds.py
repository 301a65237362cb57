"""Stability: the Jaccard index by hand, and seeds that make a difference."""

from __future__ import annotations

import pytest
from support.families import pairs, subject

import edgewise as ew
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.graph import Graph

GRAPH = Graph(1, 1, 1)


def circuit(*edges: str) -> ew.Circuit:
    return ew.Circuit.from_edges(GRAPH, edges)


def test_the_index_by_hand() -> None:
    a, b, c = circuit("input->m0", "m0->logits"), circuit("input->m0", "input->logits"), circuit("input->m0")
    found = ew.Stability((a, b, c))
    # Shared over all: {m0 in} of 3; {m0 in} of 2; {m0 in} of 2.
    assert found.jaccard == pytest.approx((1 / 3, 1 / 2, 1 / 2))
    assert found.mean == pytest.approx(4 / 9)
    assert found.min == pytest.approx(1 / 3)
    assert found.core == c
    assert found.to_dict()["edges"] == [2, 2, 1]
    assert str(found) == (
        "3 circuits of 1 to 2 edges: Jaccard index 0.44 on average, 0.33 at least; 1 edges in all of them"
    )


def test_several_seeds_of_a_method() -> None:
    how = {"method": "edge-pruning", "preset": "published", "edges": 30, "batch_size": 5, "steps": 5}
    found = ew.stability(subject("gpt2"), pairs(), seeds=3, **how)
    for seed, one in enumerate(found.circuits):
        assert one == ew.discover(subject("gpt2"), pairs(), seed=seed, **how)
        assert one.provenance["options"]["seed"] == seed
    assert 0 <= found.min <= found.mean < 1
    assert ew.stability(subject("gpt2"), pairs(), seeds=[1, 1], **how).min == 1.0


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidValue, match="eap has no seed"):
        ew.stability(subject("gpt2"), pairs(), method="eap")
    with pytest.raises(InvalidValue, match="at least two circuits"):
        ew.stability(subject("gpt2"), pairs(), method="random", seeds=1)
    with pytest.raises(GraphMismatch):
        ew.Stability((circuit("input->m0"), ew.Circuit.full(Graph(2, 1, 1))))
