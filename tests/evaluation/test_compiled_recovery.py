"""Known circuits found again: the benchmark of methods on compiled models, small enough for every run of the tests."""

from __future__ import annotations

from functools import cache

import pytest

import edgewise as ew
from edgewise.evaluation import Recovery, measure_recovery
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.scores import Scores

NAMES = ("reverse", "fraction", "induction-hidden")
every_program = pytest.mark.parametrize("name", NAMES)
# Scores below this are rounding: edges that change nothing have to tie, as they do in exact arithmetic.
ROUNDING = 1e-4


@cache
def subject(name: str) -> Subject:
    return ew.load(name)


@cache
def pairs(name: str) -> Pairs:
    return ew.task(name).pairs(subject(name).tokenizer, n=64)


@cache
def scores(name: str, method: str, ablation: str) -> Scores:
    found = ew.attribute(subject(name), pairs(name), method=method, ablation=ablation, metric=ew.task(name).metric)
    return Scores(found.graph, found.values.masked_fill(found.values.abs() < ROUNDING, 0.0), found.provenance)


def recovered(found: Scores, name: str) -> Recovery:
    reference = ew.task(name).reference
    assert reference is not None
    return measure_recovery(found, reference)


def tied_auc(seen: int, true: int) -> tuple[float, float]:
    """(pessimistic, trapezoid) where `seen` of the true edges lead and all other edges, true or not, tie."""
    return seen / true, seen / true + 0.5 * (1 - seen / true)


@every_program
def test_zeroing_each_edge_alone_finds_the_circuit(name: str) -> None:
    """Every true edge matters more than every other: both areas are 1, and the best point is the reference."""
    recovery = recovered(scores(name, "exact", "zero"), name)
    assert recovery.auc_trapezoid == pytest.approx(1.0, abs=1e-12)
    assert recovery.auc_pessimistic == pytest.approx(1.0, abs=1e-12)
    assert recovery.average_precision == pytest.approx(1.0, abs=1e-12)
    assert recovery.best.size == recovery.true == len(ew.task(name).reference)
    counts = {"reverse": (8, 203), "fraction": (4, 137), "induction-hidden": (7, 302)}
    assert recovery.denominators["edges"] == counts[name]


@pytest.mark.parametrize("method", ["eap", "exact"])
@pytest.mark.parametrize(("name", "seen"), [("reverse", 6), ("fraction", 4)])
def test_resampling_finds_what_it_can_see(name: str, seen: int, method: str) -> None:
    """Edges from positions carry the same in both prompts: they tie with all edges that do nothing."""
    recovery = recovered(scores(name, method, "corrupted"), name)
    expected = tied_auc(seen, recovery.true)
    assert (recovery.auc_pessimistic, recovery.auc_trapezoid) == pytest.approx(expected, abs=1e-12)


def test_resampling_ranks_the_edges_it_cannot_see_below_those_that_leak() -> None:
    """5 of 7 lead; the other two score 0, and so less than noise: the area beyond 5/7 is that of a tie at the end."""
    recovery = recovered(scores("induction-hidden", "exact", "corrupted"), "induction-hidden")
    assert recovery.auc_pessimistic == pytest.approx(5 / 7, abs=1e-12)
    assert 5 / 7 < recovery.auc_trapezoid < tied_auc(5, 7)[1]


@pytest.mark.parametrize("name", ["reverse", "fraction"])
def test_without_noise_first_order_scores_find_the_circuit(name: str) -> None:
    """No unit is at its kink or flat, so every true edge has a gradient; all other scores are exactly zero."""
    found = scores(name, "eap", "zero")
    assert recovered(found, name).auc_trapezoid == pytest.approx(1.0, abs=1e-12)
    assert not found.values[~ew.task(name).reference.mask].any()


def test_a_sharp_softmax_hides_edges_from_first_order_scores_and_from_nothing_else() -> None:
    """The previous-token head of induction-hidden: its q and k edges break the circuit, and score less than noise does."""
    first_order, exact = (scores("induction-hidden", method, "zero") for method in ("eap", "exact"))
    outside = ~ew.task("induction-hidden").reference.mask
    for edge in ("positions->a0.h2<q>", "positions->a0.h2<k>"):
        assert exact[edge] > 50 * float(exact.values[outside].abs().max())
        assert abs(first_order[edge]) < 0.2 * float(first_order.values[outside].abs().max())
    recovery = recovered(first_order, "induction-hidden")
    assert recovery.auc_pessimistic < 0.97
    assert recovery.auc_trapezoid < 0.97


@every_program
def test_acdc_with_zeros_keeps_the_circuit_and_nothing_else(name: str) -> None:
    """At every threshold between the noise and the least true edge."""
    reference = ew.task(name).reference
    found = ew.sweep(subject(name), pairs(name), method="acdc", ablation="zero", values=[1.0, 0.1, 0.01])
    assert all(circuit == reference for circuit in found.circuits)
    assert measure_recovery(found.circuits, reference).auc_trapezoid == pytest.approx(1.0, abs=1e-12)
    assert measure_recovery(found.circuits, reference).auc_pessimistic == pytest.approx(1.0, abs=1e-12)


@every_program
def test_acdc_with_corrupted_prompts_keeps_what_they_can_show(name: str) -> None:
    reference = ew.task(name).reference
    unseen = ew.Circuit.from_edges(reference.graph, reference.provenance["unseen_by_resampling"])
    found = ew.sweep(subject(name), pairs(name), method="acdc", values=[1.0, 0.1, 0.01])
    assert all(circuit == reference - unseen for circuit in found.circuits)
    expected = tied_auc(len(reference - unseen), len(reference))
    recovery = measure_recovery(found.circuits, reference)
    assert (recovery.auc_pessimistic, recovery.auc_trapezoid) == pytest.approx(expected, abs=1e-12)


def test_acdc_with_averages_keeps_the_whole_circuit() -> None:
    """Averages over positions tell positions apart, unlike the values of another prompt."""
    for name in NAMES:
        found = ew.discover(subject(name), pairs(name), method="acdc", ablation="mean", tau=0.1)
        assert found == ew.task(name).reference


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[:2]), NAMES[2]])
def test_trained_keep_probabilities_find_the_circuit_with_zeros(name: str) -> None:
    """Every true edge above every other, in induction-hidden too: training looks at more than the clean run."""
    how = {"method": "ugs", "ablation": "zero", "metric": ew.task(name).metric, "regularization": 0.01, "steps": 150}
    found = ew.attribute(subject(name), pairs(name), **how)
    recovery = recovered(found, name)
    assert recovery.auc_trapezoid == pytest.approx(1.0, abs=1e-12)
    assert recovery.auc_pessimistic == pytest.approx(1.0, abs=1e-12)
