"""evaluate: its numbers beside direct native runs, its formula, and its refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from support.families import EXAMPLES, FAMILIES, corrupted_run, distance, pairs, random_circuit, subject

import edgewise as ew
from edgewise.ablations import ABLATIONS, ablation
from edgewise.engine.forward import masked_forward
from edgewise.errors import EdgewiseError, GraphMismatch, InvalidValue, PairsError, UnknownName
from edgewise.evaluation import evaluate_each
from edgewise.evaluation.faithfulness import random_mask
from edgewise.metrics import METRICS, Answers
from edgewise.pairs import Pairs

every_family = pytest.mark.parametrize("family", FAMILIES)


def empty(on: Any) -> ew.Circuit:
    return ew.Circuit(on.graph, torch.zeros_like(on.graph.edge_mask))


@every_family
@pytest.mark.parametrize("metric", METRICS)
def test_the_numbers_are_those_of_direct_runs(family: str, metric: str) -> None:
    on, of = subject(family), pairs()
    circuit = random_circuit(on, 0.5, seed=1)
    report = ew.evaluate(on, circuit, of, metrics=[metric], batch_size=2)[metric]
    runs = {
        "clean": on.logits(of.clean, of.positions),
        "corrupted": on.logits(of.corrupted, of.positions),
        "circuit": masked_forward(on, of.clean, of.positions, circuit.mask, corrupted_run(on, of)),
        "random": masked_forward(
            on, of.clean, of.positions, random_mask(on.graph, len(circuit), 0), corrupted_run(on, of)
        ),
    }
    for name, logits in runs.items():
        values = METRICS[metric].value(logits, Answers(of.correct, of.wrong), runs["clean"])
        assert getattr(report, name) == pytest.approx(float(values.mean()), abs=1e-5), name
        if name == "circuit":
            assert distance(torch.tensor(report.values), values) < 1e-5 or not values.any()


def test_several_circuits_at_once_are_those_one_by_one() -> None:
    on, of = subject("gpt2"), pairs()
    circuits = [random_circuit(on, density, seed=4) for density in (0.0, 0.3, 0.8)]
    together = evaluate_each(on, circuits, of, metrics=["logit_diff", "kl"], batch_size=2)
    for circuit, found in zip(circuits, together, strict=True):
        alone = ew.evaluate(on, circuit, of, metrics=["logit_diff", "kl"], batch_size=2, random=None)
        assert {**found.to_dict(), "seconds": 0} == {**alone.to_dict(), "seconds": 0}
        assert found["kl"].values == alone["kl"].values
    assert evaluate_each(on, [], of) == []
    with pytest.raises(GraphMismatch, match="of another model"):
        evaluate_each(on, [random_circuit(subject("llama"), 0.5, seed=1)], of)


@pytest.mark.parametrize("how", ABLATIONS)
def test_other_ablations(how: str) -> None:
    on, of = subject("llama"), pairs()
    circuit = random_circuit(on, 0.5, seed=2)
    report = ew.evaluate(on, circuit, of, ablation=how, batch_size=2)
    replacement = ablation(how).prepare(on, of, 2)(of)
    logits = masked_forward(on, of.clean, of.positions, circuit.mask, replacement)
    answers = Answers(of.correct, of.wrong)
    expected = METRICS["logit_diff"].value(logits, answers, logits).mean()
    replaced = METRICS["logit_diff"].value(replacement.logits(on, of.positions), answers, logits).mean()
    assert report["logit_diff"].circuit == pytest.approx(float(expected), abs=1e-5)
    assert report["logit_diff"].corrupted == pytest.approx(float(replaced), abs=1e-5)
    assert report.ablation == how


def test_faithfulness_is_its_formula() -> None:
    on = subject("gpt2")
    one = ew.evaluate(on, random_circuit(on, 0.5, seed=3), pairs())["logit_diff"]
    assert one.random is not None
    assert one.faithfulness == (one.circuit - one.corrupted) / (one.clean - one.corrupted)
    assert one.random_faithfulness == (one.random - one.corrupted) / (one.clean - one.corrupted)


@every_family
def test_full_and_empty_circuits_are_the_ends_of_the_scale(family: str) -> None:
    on = subject(family)
    full, none = (ew.evaluate(on, c, pairs()) for c in (ew.Circuit.full(on.graph), empty(on)))
    for metric in ("logit_diff", "kl"):
        assert full[metric].faithfulness == pytest.approx(1, abs=1e-4)
        assert none[metric].faithfulness == pytest.approx(0, abs=1e-4)
    assert full.has_path
    assert not none.has_path
    assert (none.edges, none.live_edges, none.nodes) == (0, 0, 0)
    assert "no path from input to logits" in str(none)
    assert f"{on.graph.n_edges} of {on.graph.n_edges} edges" in str(full)


def test_the_random_circuit_is_as_large_seeded_and_can_be_left_out() -> None:
    on, circuit = subject("gpt2"), random_circuit(subject("gpt2"), 0.2, seed=4)
    a, b = (random_mask(on.graph, len(circuit), seed) for seed in (0, 1))
    assert int(a.sum()) == int(b.sum()) == len(circuit)
    assert not torch.equal(a, b)
    assert torch.equal(a, random_mask(on.graph, len(circuit), 0))
    assert not (a & ~on.graph.edge_mask).any()
    reports = [ew.evaluate(on, circuit, pairs(), random=seed)["logit_diff"] for seed in (0, 0, 1, None)]
    assert reports[0] == reports[1]
    assert reports[0].random != reports[2].random
    assert reports[3].random is None
    assert reports[3].random_faithfulness is None
    assert "%" in str(ew.evaluate(on, circuit, pairs(), random=None))


def test_counts() -> None:
    on = subject("gpt2")
    circuit = random_circuit(on, 0.2, seed=5)
    report = ew.evaluate(on, circuit, pairs())
    assert (report.edges, report.total_edges, report.examples) == (len(circuit), 262, EXAMPLES)
    assert report.live_edges == len(circuit.without_dangling()) < report.edges
    assert report.nodes == len(circuit.nodes)
    assert report["logit-diff"] is report["logit_diff"]


def test_faithfulness_is_nan_where_nothing_differs_and_none_in_files() -> None:
    on, of = subject("gpt2"), pairs()
    same = Pairs(of.clean, of.clean, of.correct, of.wrong, of.positions)
    report = ew.evaluate(on, empty(on), same)
    one = report["logit_diff"]
    # A walk's logits differ from native ones in the last digits, so say so exactly with equal runs.
    assert math.isnan(type(one)(1.0, 1.0, 1.0, 1.0, (1.0,)).faithfulness)
    plain = type(one)(1.0, 1.0, 1.0, None, (1.0,)).to_dict()
    assert plain["faithfulness"] is None
    assert plain["random"] is None
    json.dumps(report.to_dict(), allow_nan=False)


def test_to_dict_holds_everything_json_can_hold() -> None:
    on = subject("gpt2")
    report = ew.evaluate(on, random_circuit(on, 0.3, seed=6), pairs(), metrics=list(METRICS))
    again = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(again["metrics"]) == set(METRICS)
    assert again["metrics"]["kl"]["clean"] == pytest.approx(0, abs=1e-6)
    assert again["edges"] == report.edges


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"metrics": []}, InvalidValue, "no metric was given"),
        ({"metrics": ["acuracy"]}, UnknownName, "did you mean 'accuracy'"),
        ({"ablation": "meen"}, UnknownName, "unknown ablation"),
        ({"batch_size": 0}, InvalidValue, "batch size 0"),
        ({"batch_size": -1}, InvalidValue, "batch size -1"),
    ],
)
def test_refusals(changes: dict[str, Any], error: type[EdgewiseError], message: str) -> None:
    on = subject("toy")
    with pytest.raises(error, match=message):
        ew.evaluate(on, empty(on), pairs(), **changes)


def test_a_circuit_of_another_graph_is_refused() -> None:
    other = ew.Circuit.full(subject("gpt2").graph)
    with pytest.raises(GraphMismatch, match="the circuit is of another model"):
        ew.evaluate(subject("toy"), other, pairs())


def test_metrics_that_need_wrong_answers_say_so() -> None:
    of, on = pairs(), subject("toy")
    without = Pairs.from_tokens(of.clean, of.corrupted, correct=of.correct, positions=of.positions)
    with pytest.raises(PairsError, match="needs wrong answers"):
        ew.evaluate(on, empty(on), without)
    assert ew.evaluate(on, empty(on), without, metrics=["kl", "nll", "accuracy"]).examples == EXAMPLES


def test_an_unknown_metric_of_a_report() -> None:
    on = subject("toy")
    with pytest.raises(UnknownName, match="metric in this report"):
        ew.evaluate(on, empty(on), pairs())["accuracy"]
