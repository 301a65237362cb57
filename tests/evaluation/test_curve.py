"""The faithfulness curve: each point is what evaluate says of that circuit; the ends are known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.families import pairs, subject
from support.strategies import graphs

import edgewise as ew
from edgewise.evaluation import curve_sizes, evaluate_each, faithfulness_curve
from edgewise.graph import Graph


def test_every_point_is_what_evaluate_says() -> None:
    model, data = subject("toy"), pairs()
    scores = ew.attribute(model, data, method="eap")
    circuits = [scores.top(n) for n in (60, 5)]
    curve = faithfulness_curve(model, circuits, data, metric="prob_diff", ablation="zero", random=3)
    assert [point.edges for point in curve.points] == [0, 5, 60, scores.graph.n_edges]
    assert (curve.metric, curve.ranking) == ("prob_diff", "absolute")
    for point, circuit in ((curve.points[1], circuits[1]), (curve.points[2], circuits[0])):
        found = ew.evaluate(model, circuit, data, metrics=["prob_diff"], ablation="zero", random=3)["prob_diff"]
        assert point.faithfulness == pytest.approx(found.faithfulness)
        assert point.random == pytest.approx(found.random_faithfulness)
    # Law 1 and law 2: everything kept is the clean run, nothing kept the replaced one.
    for n, value in ((0, 0.0), (scores.graph.n_edges, 1.0)):
        found = ew.evaluate(model, scores.top(n), data, metrics=["prob_diff"], ablation="zero")["prob_diff"]
        assert found.faithfulness == pytest.approx(value, abs=1e-5)
        assert next(point for point in curve.points if point.edges == n).faithfulness == value


def test_what_is_known_is_not_run_again_and_dangling_edges_count_where_sizes_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, data = subject("toy"), pairs()
    scores = ew.attribute(model, data, method="eap")
    run: list[int] = []

    def noted(subject: ew.Subject, circuits: list[ew.Circuit], *given: Any, **more: Any) -> list[Any]:
        run.append(len(circuits))
        return evaluate_each(subject, circuits, *given, **more)

    monkeypatch.setattr("edgewise.evaluation.by_size.evaluate_each", noted)
    circuits = [scores.top(n).without_dangling() for n in (5, 60)]
    curve = faithfulness_curve(model, circuits, data, sizes=[5, 60], known={60: 0.5, 70: 0.75})
    assert run == [1 + 2]  # the circuit of 5, and a random one for each size
    assert [point.edges for point in curve.points] == [0, 5, 60, 70, scores.graph.n_edges]
    assert [point.faithfulness for point in curve.points[2:4]] == [0.5, 0.75]
    assert [point.random is None for point in curve.points] == [False, False, False, True, False]
    alone = ew.evaluate(model, circuits[0], data, metrics=["logit_diff"], random=None)["logit_diff"].faithfulness
    assert curve.points[1].faithfulness == pytest.approx(alone)


@given(graphs(), st.integers(0, 12))
def test_sizes_grow_and_leave_out_the_ends(graph: Graph, count: int) -> None:
    sizes = curve_sizes(graph, count)
    assert list(sizes) == sorted(set(sizes))
    assert all(0 < size < graph.n_edges for size in sizes)
    assert len(sizes) <= count
