"""Recovery of a known circuit, against an obvious twin, scikit-learn, and the published curves."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from sklearn.metrics import auc, average_precision_score, roc_auc_score
from support.strategies import circuits

from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.evaluation import universe
from edgewise.evaluation.recovery import measure_recovery, pareto, pessimistic_auc, trapezoid_auc
from edgewise.graph import Graph, node_of
from edgewise.scores import Scores
from edgewise.tasks.references import reference

PUBLISHED = json.loads((Path(__file__).parents[1] / "golden" / "published_roc.json").read_text())["curves"]
TASK = {"ioi": "ioi", "greaterthan": "greater-than", "docstring": "docstring"}
GRAPH = Graph(2, 2, 1)
NAMES = tuple(universe.UNIVERSES)


def name_of(curve: dict[str, str]) -> str:
    return f"{curve['task']}-{curve['metric']}-{curve['method']}"


def some_scores(graph: Graph, *, coarse: bool = False, seed: int = 0) -> Scores:
    values = torch.randn(graph.edge_mask.shape, generator=torch.Generator().manual_seed(seed))
    return Scores(graph, values.round() if coarse else values)


def usable(circuit: Circuit, level: str) -> bool:
    return 0 < universe.denominators(circuit)[level][0] < universe.denominators(circuit)[level][1]


# -- the twin: names, sets and loops, one threshold after another ------------------------------------------------------


def twin_units(graph: Graph, edges: tuple[str, ...], level: str) -> set[str]:
    """What these edges make present, by name."""
    pairs = [edge.split("->") for edge in edges]
    into_heads = {reader for _, reader in pairs if "<" in reader}
    logits = {"logits"} & {reader for _, reader in pairs}
    if level == "edges":
        return set(edges)
    if level == "counted-edges":
        return set(edges) | into_heads
    written = {f"{writer} writes" for writer, _ in pairs}
    if level == "nodes":
        read = {f"{node_of(reader)} writes" for _, reader in pairs if reader[0] == "m"}
        return written | read | into_heads | logits
    return written | into_heads | {f"{reader} again" for reader in into_heads} | logits


def twin_points(found: list[Circuit], reference: Circuit, level: str) -> set[tuple[float, float]]:
    everything = twin_units(reference.graph, reference.graph.edges, level)
    true = twin_units(reference.graph, reference.edges, level)
    points = {(0.0, 0.0), (1.0, 1.0)}
    for circuit in found:
        units = twin_units(reference.graph, circuit.edges, level)
        points.add((len(units - true) / len(everything - true), len(units & true) / len(true)))
    return points


def twin_pessimistic(points: list[tuple[float, float]]) -> float:
    """The height of the step curve, summed over the stretches between its corners."""
    kept = [p for p in points if not any(q[0] < p[0] and q[1] > p[1] for q in points)]
    corners = sorted({x for x, _ in kept} | {0.0, 1.0})
    return sum((b - a) * max((y for x, y in kept if x <= a), default=0.0) for a, b in pairwise(corners))


@pytest.mark.parametrize("level", NAMES)
@pytest.mark.parametrize("absolute", [True, False])
@given(circuit=circuits())
@settings(max_examples=20, deadline=None)
def test_every_threshold_is_a_point_as_in_the_twin(absolute: bool, level: str, circuit: Circuit):
    assume(usable(circuit, level))
    scores = some_scores(circuit.graph, coarse=True, seed=len(circuit))
    values = [abs(score) if absolute else score for _, score in scores.items()]
    steps = [scores.above(value, absolute=absolute) for value in sorted(set(values))]
    expected = twin_points(steps, circuit, level)
    by_scores = measure_recovery(scores, circuit, level=level, absolute=absolute)
    by_circuits = measure_recovery(steps[::-1], circuit, level=level)
    assert [point[:2] for point in by_scores.points] == sorted(expected)
    assert [point[:4] for point in by_scores.points] == [point[:4] for point in by_circuits.points]
    assert by_scores.auc_pessimistic == pytest.approx(twin_pessimistic(list(expected)))
    assert by_scores.auc_trapezoid == by_circuits.auc_trapezoid
    assert by_scores.average_precision == by_circuits.average_precision


@given(circuit=circuits())
@settings(max_examples=40, deadline=None)
def test_a_level_counts_what_the_twin_counts(circuit: Circuit):
    for level, counts in universe.denominators(circuit).items():
        assert counts == tuple(len(twin_units(circuit.graph, e, level)) for e in (circuit.edges, circuit.graph.edges))


# -- the two conventions -----------------------------------------------------------------------------------------------


def test_the_pessimistic_area_has_its_published_sanity_values():
    assert pessimistic_auc([(0, 0), (1, 1)]) == 0
    assert pessimistic_auc([(0, 0), (0.5, 0.5), (1, 1)]) == 0.25
    assert pessimistic_auc([(0, 0), (0.25, 0.25), (0.5, 0.5), (1, 1)]) == 5 / 16
    assert (pessimistic_auc([(0, 1)]), pessimistic_auc([(1, 0)])) == (1, 0)


def test_a_point_beaten_in_both_rates_counts_in_one_convention_only():
    good, beaten = (0.1, 0.8), (0.2, 0.4)
    assert pessimistic_auc([good, beaten]) == pessimistic_auc([good])
    assert trapezoid_auc([good, beaten]) < trapezoid_auc([good])
    assert pareto([good, beaten, (0.1, 0.5), (0.3, 0.8)]) == [(0.1, 0.5), good, (0.3, 0.8)]


def test_the_areas_of_ragged_points_are_those_of_the_twin_and_of_scikit_learn():
    points = [tuple(row) for row in torch.rand((40, 2), generator=torch.Generator().manual_seed(1)).tolist()]
    assert pessimistic_auc(points) == pytest.approx(twin_pessimistic([(0.0, 0.0), *points, (1.0, 1.0)]))
    x, y = zip(*sorted([(0.0, 0.0), *points, (1.0, 1.0)]), strict=True)
    assert trapezoid_auc(points) == pytest.approx(auc(x, y))


@pytest.mark.parametrize("level", ["edge", "node"])
@pytest.mark.parametrize("curve", PUBLISHED, ids=name_of)
def test_the_published_areas_come_out_to_three_decimals(curve: dict, level: str):
    points = [(x, y) for x, y in curve[f"{level}_points"]]
    assert round(pessimistic_auc(points), 3) == curve[f"{level}_auc_published"]
    assert round(trapezoid_auc(points), 3) == curve[f"{level}_auc_trapezoid"]


@pytest.mark.parametrize(("points", "level"), [("edge_points", "counted-edges"), ("node_points", "published-nodes")])
@pytest.mark.parametrize("curve", PUBLISHED, ids=name_of)
def test_the_published_rates_are_fractions_of_our_denominators(curve: dict, points: str, level: str):
    true, total = universe.denominators(reference(TASK[curve["task"]]))[level]
    for fpr, tpr in curve[points]:  # given to six decimals
        assert fpr * (total - true) == pytest.approx(round(fpr * (total - true)), abs=6e-7 * total)
        assert tpr * true == pytest.approx(round(tpr * true), abs=6e-7 * total)


@pytest.mark.parametrize("coarse", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("absolute", [True, False])
def test_over_all_thresholds_the_areas_are_those_of_scikit_learn(absolute: bool, coarse: bool):
    known, scores = reference("docstring"), some_scores(Graph(4, 8, 8, mlps=False), coarse=coarse)
    found = measure_recovery(scores, known, absolute=absolute)
    edges = known.graph.edge_mask
    truth, values = known.mask[edges], scores.values[edges].abs() if absolute else scores.values[edges]
    assert found.auc_trapezoid == pytest.approx(float(roc_auc_score(truth, values)))
    assert found.average_precision == pytest.approx(float(average_precision_score(truth, values)))
    assert len(found.points) == len(values.unique()) + 1
    # Without ties every step is level or upright, and both conventions draw the same line.
    assert (found.auc_pessimistic == pytest.approx(found.auc_trapezoid)) is not coarse


# -- the result --------------------------------------------------------------------------------------------------------


def test_both_denominators_are_stated():
    known = reference("ioi")
    found = measure_recovery([known], known)
    edges = {"edges": (963, 32_491), "counted-edges": (1_041, 32_923)}
    assert found.denominators == {**edges, "nodes": (118, 590), "published-nodes": (196, 1_022)}
    assert (found.true, found.total) == (963, 32_491)
    assert "963 of 32,491 edges (1,041 of 32,923 with the direct edges into q, k and v)" in str(found)


@pytest.mark.parametrize("level", NAMES)
@pytest.mark.parametrize("name", ["ioi", "greater-than", "docstring"])
def test_the_reference_recovers_itself(name: str, level: str):
    known = reference(name)
    for found in (Scores(known.graph, known.mask.float()), [known]):
        result = measure_recovery(found, known, level=level)
        assert (result.auc_pessimistic, result.auc_trapezoid, result.average_precision) == (1, 1, 1)
        assert (*result.best[:3], result.best.youden, len(result.points)) == (0, 1, 1, 1, 3)


def test_the_wrong_way_round_recovers_nothing():
    known = reference("docstring")
    result = measure_recovery(Scores(known.graph, -known.mask.float()), known, absolute=False)
    assert (result.auc_pessimistic, result.auc_trapezoid) == (0, 0)
    assert measure_recovery(Scores(known.graph, -known.mask.float()), known).auc_pessimistic == 1


def test_infinite_scores_are_thresholds_like_any_other():
    known = Circuit.from_edges(GRAPH, ["input->m0", "m0->logits"])
    values = torch.full(GRAPH.edge_mask.shape, -torch.inf)
    values[GRAPH.edge_index("input->m0")] = torch.inf
    result = measure_recovery(Scores(GRAPH, values), known, absolute=False)
    assert [point[:2] for point in result.points] == [(0, 0), (0, 0.5), (1, 1)]
    assert [point.threshold for point in result.points] == [None, torch.inf, -torch.inf]
    assert [point["threshold"] for point in result.to_dict()["points"]] == [None, None, None]


def test_the_best_point_is_the_smallest_of_equals():
    known = Circuit.from_edges(GRAPH, GRAPH.edges[:18])
    one_right = Circuit.from_edges(GRAPH, GRAPH.edges[:1])
    two_right_one_wrong = Circuit.from_edges(GRAPH, [*GRAPH.edges[:2], GRAPH.edges[-1]])
    best = measure_recovery([two_right_one_wrong, one_right], known).best
    assert (best.size, best.precision, best.youden) == (1, 1, 1 / 18)


def test_a_result_is_plain_values():
    known = Circuit.from_edges(GRAPH, ["input->m0", "m0->logits"])
    result = measure_recovery(some_scores(GRAPH), known, level="nodes")
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["denominators"]["edges"] == [2, GRAPH.n_edges]


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_a_reference_of_another_model_is_refused():
    known = reference("docstring")
    for found in (some_scores(GRAPH), [known, Circuit.full(GRAPH)]):
        with pytest.raises(GraphMismatch, match="the reference is of another model: 4 layers, 8 heads"):
            measure_recovery(found, known)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (None, "needs a reference circuit and got none"),
        (Circuit.from_edges(GRAPH, []), "the reference circuit is empty"),
        (Circuit.full(GRAPH), "the reference has all 36 edges, so there is nothing to tell it from"),
    ],
)
def test_a_reference_that_cannot_be_compared_with_is_refused(known: Circuit, message: str):
    with pytest.raises(InvalidValue, match=message):
        measure_recovery(some_scores(GRAPH), known)


def test_a_reference_that_touches_every_node_is_refused_at_the_level_of_nodes_only():
    known = Circuit.full(GRAPH) - Circuit.from_edges(GRAPH, ["input->logits"])
    assert measure_recovery([known], known).auc_pessimistic == 1
    with pytest.raises(InvalidValue, match="the reference has all 16 nodes"):
        measure_recovery([known], known, level="nodes")


def test_nothing_to_compare_and_an_unknown_level_are_refused():
    known = Circuit.from_edges(GRAPH, ["input->m0"])
    with pytest.raises(InvalidValue, match="the list is empty"):
        measure_recovery([], known)
    for wrong in ("input->m0", some_scores(GRAPH)):
        with pytest.raises(InvalidValue, match=f"a list of Circuits, not of {type(wrong).__name__}"):
            measure_recovery([wrong], known)  # type: ignore[list-item]
    with pytest.raises(UnknownName, match="unknown level 'edge'; did you mean 'edges'"):
        measure_recovery([known], known, level="edge")
