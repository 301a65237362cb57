"""Curves of faithfulness and their areas: against one evaluation for each circuit, and by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from support.families import pairs, random_circuit, subject

import edgewise as ew
from edgewise.errors import EdgewiseError, GraphMismatch, InvalidValue, NumericalError, UnknownName
from edgewise.evaluation import auroc, benchmark, size_curve
from edgewise.evaluation.areas import MIB_SHARES, SELECTIONS, Size, SizeCurve
from edgewise.graph import Graph
from edgewise.scores import Scores

SHARES = (0.05, 0.3, 1.0)


def random_scores(family: str) -> Scores:
    return ew.attribute(subject(family), pairs(), method="random", seed=3)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_curve_is_one_evaluation_for_each_size(family: str, selection: str) -> None:
    on, of, scores = subject(family), pairs(), random_scores(family)
    curve = size_curve(on, scores, of, selection=selection, shares=SHARES, metric="prob_diff", batch_size=2)
    for size, share in zip(curve.sizes, SHARES, strict=True):
        picked = SELECTIONS[selection](scores, int(share * scores.graph.n_edges))
        report = ew.evaluate(on, picked, of, metrics=["prob_diff"], random=None)["prob_diff"]
        assert size.faithfulness == pytest.approx(report.faithfulness, abs=1e-4)
        assert (size.selected, size.kept) == (len(picked), len(picked.without_dangling()))
        assert curve.clean == pytest.approx(report.clean, abs=1e-5)
        assert curve.corrupted == pytest.approx(report.corrupted, abs=1e-5)


def test_the_ends_of_a_curve_are_the_corrupted_and_the_clean_model() -> None:
    curve = size_curve(subject("qwen3"), random_scores("qwen3"), pairs(), shares=(0.0, 1.0), metric="kl")
    assert [size.faithfulness for size in curve.sizes] == pytest.approx([0, 1], abs=1e-5)
    assert curve.clean == pytest.approx(0, abs=1e-6)
    assert curve.corrupted > 0


def test_areas_by_hand() -> None:
    """Faithfulness 0, 1.5 and 1 at 0, ½ and 1.

    CPR = ½·(0 + 1.5)/2 + ½·(1.5 + 1)/2 = 0.375 + 0.625 = 1. |1 − f| = 1, ½, 0: CMD = ½·0.75 + ½·0.25 = 0.5.
    NDF = 1 − that, for no distance exceeds 1.
    """
    sizes = tuple(Size(share, 0, 0, f, 0.0) for share, f in ((0.0, 0.0), (0.5, 1.5), (1.0, 1.0)))
    curve = SizeCurve("signed", "logit_diff", 1.0, 0.0, sizes, "edges", 9)
    assert (curve.cpr, curve.cmd, curve.ndf) == (1.0, 0.5, 0.5)
    assert curve.to_dict()["sizes"][1]["ndf"] == 0.5


def test_the_bounded_distance_does_not_go_below_zero() -> None:
    assert Size(0.1, 1, 1, -7.0, 1.0).ndf == 0
    assert Size(0.1, 1, 1, 9.0, 1.0).ndf == 0


def test_the_benchmark_takes_cpr_from_signed_and_cmd_from_absolute_rankings() -> None:
    on, of = subject("gpt2"), pairs()
    scores = ew.attribute(on, of)
    found = benchmark(on, scores, of)
    assert found.cpr == size_curve(on, scores, of, selection="signed").cpr
    assert found.cmd == size_curve(on, scores, of, selection="absolute").cmd
    assert found.cpr + found.signed.cmd >= 0.999 - 1e-6
    assert [size.share for size in found.signed.sizes] == list(MIB_SHARES)
    assert "CPR (signed" in str(found)
    assert found.to_dict()["absolute"]["cmd"] == found.cmd


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"shares": (0.5, 0.1)}, InvalidValue, "ascend"),
        ({"shares": (0.5, 1.1)}, InvalidValue, "ascend within 0 and 1"),
        ({"shares": ()}, InvalidValue, "ascend"),
        ({"selection": "sigend"}, UnknownName, "did you mean 'signed'"),
    ],
)
def test_refusals(changes: dict[str, Any], error: type[EdgewiseError], message: str) -> None:
    with pytest.raises(error, match=message):
        size_curve(subject("gpt2"), random_scores("gpt2"), pairs(), **changes)


def test_scores_of_another_model_are_refused() -> None:
    with pytest.raises(GraphMismatch, match="of another model"):
        size_curve(subject("llama"), random_scores("gpt2"), pairs())
    assert issubclass(NumericalError, EdgewiseError)


# -- ROC in the benchmark's convention --------------------------------------------------------------------------------


def test_scores_that_know_the_reference_have_the_whole_area() -> None:
    on = subject("gpt2")
    reference = random_circuit(on, 0.2, seed=1).without_dangling()
    assert auroc(Scores(on.graph, reference.mask.float() + 0.001), reference, selection="absolute") > 0.99
    # Everything else first: no true edge among them until there is nothing else left.
    wrong = Scores(on.graph, (~reference.mask).float() + 0.001)
    assert auroc(wrong, reference, selection="absolute") < 0.5


def test_the_points_are_those_of_the_ten_sizes() -> None:
    on = subject("llama")
    reference, scores = random_circuit(on, 0.3, seed=2), random_scores("llama")
    points = []
    for share in MIB_SHARES:
        found = scores.greedy(int(share * len(scores))).without_dangling()
        true = len(found & reference) / len(reference)
        points.append((len(found - reference) / (len(scores) - len(reference)), true))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    assert auroc(scores, reference) == pytest.approx(area / points[-1][0])


def test_a_reference_of_nothing_or_everything_is_refused() -> None:
    graph = Graph(1, 1, 1)
    scores = Scores(graph, torch.ones(graph.edge_mask.shape))
    for reference in (ew.Circuit.full(graph), ew.Circuit.from_edges(graph, [])):
        with pytest.raises(InvalidValue, match="nothing to tell apart"):
            auroc(scores, reference)
    with pytest.raises(GraphMismatch):
        auroc(scores, ew.Circuit.full(Graph(2, 1, 1)))
