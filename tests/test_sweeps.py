"""A sweep: one circuit for each value of a size option, and scores made of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from support.families import pairs as family_pairs
from support.families import subject as family_subject

import edgewise as ew
from edgewise.errors import FileError, GraphMismatch, InvalidValue
from edgewise.evaluation import measure_recovery
from edgewise.formats.eap_ig_json import eap_ig_json

GRAPH = ew.Graph(layers=1, heads=1, kv_heads=1)


def circuit(*edges: str) -> ew.Circuit:
    return ew.Circuit.from_edges(GRAPH, edges)


def test_an_edge_scores_the_smallest_value_that_removes_it() -> None:
    few, more = circuit("m0->logits"), circuit("m0->logits", "input->m0")
    scores = ew.Sweep("tau", (0.1, 0.01), (few, more)).scores
    # m0->logits survives both; input->m0 goes at 0.1 only; the others go at both.
    assert math.isinf(scores["m0->logits"])
    assert scores["input->m0"] == pytest.approx(0.1)
    assert scores["input->logits"] == pytest.approx(0.01)
    assert scores.top(2) == more


@pytest.mark.parametrize("values", [(), (0.1,), (0.01, 0.1), (0.1, 0.1)])
def test_values_must_descend_and_have_a_circuit_each(values: tuple[float, ...]) -> None:
    with pytest.raises(InvalidValue, match="sweep"):
        ew.Sweep("tau", values, (circuit(), circuit()))


def test_circuits_must_share_a_graph() -> None:
    other = ew.Circuit.full(ew.Graph(layers=1, heads=2, kv_heads=2))
    with pytest.raises(GraphMismatch, match="different graphs"):
        ew.Sweep("tau", (0.1, 0.01), (circuit(), other))


def test_a_sweep_finds_what_single_searches_find() -> None:
    # A sweep tries removals in other batches than a single search does: in float64 rounding decides nothing.
    subject = family_subject("gpt2", torch.float64)
    pairs = family_pairs()
    found = ew.sweep(subject, pairs, method="acdc", values=[0.001, 0.1])
    assert found.values == (0.1, 0.001)
    for value, one in zip(found.values, found.circuits, strict=True):
        assert one == ew.discover(subject, pairs, method="acdc", tau=value)


def test_scores_with_edges_that_nothing_removes_are_scores_like_others(tmp_path: Path) -> None:
    few, more = circuit("m0->logits"), circuit("m0->logits", "input->m0")
    sweep = ew.Sweep("tau", (0.1, 0.01), (few, more)).scores
    assert sweep.top(1) == sweep.above(0.2) == few
    ew.save(sweep, tmp_path / "a.safetensors")
    again = ew.open(tmp_path / "a.safetensors")
    assert isinstance(again, ew.Scores)
    assert again.values.equal(sweep.values)
    agreement = sweep.agreement(sweep, top=2)
    assert (agreement["spearman"], agreement["overlap"]) == (pytest.approx(1.0), 1.0)
    assert math.isnan(agreement["pearson"])
    assert measure_recovery(sweep, few).auc_trapezoid == 1.0
    for suffix in (".svg", ".html", ".dot"):
        assert ew.show(more, tmp_path / f"a{suffix}", scores=sweep).stat().st_size
    with pytest.raises(FileError, match="infinite, which JSON cannot hold"):
        ew.save(sweep, tmp_path / "a.json")
    with pytest.raises(InvalidValue, match="infinite, which EAP-IG files cannot hold"):
        eap_ig_json(sweep, None)


def test_a_method_that_scores_cannot_be_swept() -> None:
    subject = family_subject("gpt2")
    with pytest.raises(InvalidValue, match="use attribute"):
        ew.sweep(subject, family_pairs(), method="eap")


def test_the_old_word_for_the_size_option_is_kept_with_a_warning() -> None:
    sweep = ew.Sweep("tau", (0.1,), (circuit(),))
    with pytest.warns(DeprecationWarning, match="size_option"):
        assert sweep.dial == "tau"
