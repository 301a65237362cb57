"""Circuits of neurons and of nodes evaluated: their numbers beside direct runs, their curves, and the benchmark."""

from __future__ import annotations

import json

import pytest
import torch
from support.families import EXAMPLES, FAMILIES, corrupted_run, distance, pairs, subject
from support.masked_twin import slow

import edgewise as ew
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.evaluation import benchmark, evaluate_each, size_curve
from edgewise.evaluation.areas import MIB_SHARES
from edgewise.evaluation.faithfulness import random_neurons
from edgewise.metrics import Answers, logit_diff
from edgewise.old_names import NeuronCircuit

SHARES = (0.05, 0.3, 1.0)
every_family = pytest.mark.parametrize("family", FAMILIES)


@every_family
def test_the_numbers_are_those_of_the_twin(family: str) -> None:
    on, of = subject(family), pairs()
    circuit = ew.attribute_nodes(on, of).neuron_scores.top(200)
    report = ew.evaluate(on, circuit, of, metrics=["logit_diff"], batch_size=2)
    logits = slow(family, circuit.circuit.mask, neurons=circuit.neurons.float())
    values = logit_diff(logits, Answers(of.correct, of.wrong), logits)
    assert distance(torch.tensor(report["logit_diff"].values), values) < 1e-4
    of_edges = ew.evaluate(on, circuit.circuit, of, batch_size=2)
    assert report["logit_diff"].clean == pytest.approx(of_edges["logit_diff"].clean)


def test_it_is_compared_with_as_many_random_neurons() -> None:
    on, of = subject("llama"), pairs()
    circuit = ew.attribute_nodes(on, of).neuron_scores.top(150)
    report = ew.evaluate(on, circuit, of, random=7)["logit_diff"]
    neurons = random_neurons(on.graph, on.d_model, 150, seed=7)
    assert int(neurons.sum()) == 150
    by_chance = Mask.of(NeuronCircuit(on.graph, neurons))
    logits = masked_forward(on, of.clean, of.positions, by_chance, corrupted_run(on, of))
    expected = logit_diff(logits, Answers(of.correct, of.wrong), logits).mean()
    assert report.random == pytest.approx(float(expected), abs=1e-5)
    assert not torch.equal(neurons, random_neurons(on.graph, on.d_model, 150, seed=8))


def test_the_report_says_how_many_neurons_out_of_how_many() -> None:
    on, of = subject("gpt2"), pairs()
    neurons = torch.zeros(len(on.graph.writers), on.d_model, dtype=torch.bool)
    neurons[0, :8] = neurons[on.graph.writer_index["m1"], :16] = True
    report = ew.evaluate(on, NeuronCircuit(on.graph, neurons), of)
    assert report.neurons is not None
    # input → m1, input → logits, a quarter each; m1 → logits a half.
    assert vars(report.neurons) == {"kept": 24, "live": 24, "total": neurons.numel(), "weighted_edges": 1.0}
    assert (report.edges, report.live_edges, report.nodes) == (3, 3, 2)
    assert f"24 of {neurons.numel():,} neurons, 5 examples, corrupted ablation" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["neurons"]["kept"] == 24
    assert "24 of" in report._repr_html_()
    assert "neurons" not in ew.evaluate(on, ew.Circuit.full(on.graph), of).to_dict()


def test_nothing_kept_is_the_corrupted_model_and_said_to_have_no_path() -> None:
    on, of = subject("gemma2"), pairs()
    scores = ew.attribute_nodes(on, of).neuron_scores
    nothing, everything = evaluate_each(on, [scores.top(0), scores.top(len(scores))], of)
    assert nothing["logit_diff"].faithfulness == pytest.approx(0, abs=1e-4)
    assert everything["logit_diff"].faithfulness == pytest.approx(1, abs=1e-4)
    assert not nothing.has_path
    assert "no path from input to logits" in str(nothing)


@every_family
def test_batches_and_padding_change_nothing(family: str) -> None:
    """Law 6."""
    on, of = subject(family), pairs()
    circuit = ew.attribute_nodes(on, of).neuron_scores.top(150, absolute=False)
    wide = ew.Pairs.from_tokens(
        torch.cat([of.clean, of.clean[:, :2]], dim=1),
        torch.cat([of.corrupted, of.corrupted[:, 1:3]], dim=1),
        correct=of.correct,
        wrong=of.wrong,
        positions=of.positions,
    )
    expected = torch.tensor(ew.evaluate(on, circuit, of, batch_size=EXAMPLES)["logit_diff"].values)
    for other, size in ((of, 1), (wide, 2)):
        again = torch.tensor(ew.evaluate(on, circuit, other, batch_size=size)["logit_diff"].values)
        assert distance(again, expected) < 1e-4


def test_circuits_of_other_models_are_refused() -> None:
    on, of = subject("gpt2"), pairs()
    with pytest.raises(GraphMismatch, match=r"its writers have 3 neurons, those of .* 32"):
        ew.evaluate(on, NeuronCircuit.full(on.graph, 3), of)
    with pytest.raises(GraphMismatch, match="of another model"):
        ew.evaluate(on, NeuronCircuit.full(subject("llama").graph, 32), of)


# -- curves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("level", ["nodes", "neurons"])
@pytest.mark.parametrize("selection", ["signed", "absolute"])
def test_a_curve_is_one_evaluation_for_each_size(family: str, level: str, selection: str) -> None:
    on, of = subject(family), pairs()
    nodes = ew.attribute_nodes(on, of)
    scores = nodes if level == "nodes" else nodes.neuron_scores
    curve = size_curve(on, scores, of, selection=selection, shares=SHARES, batch_size=2)
    assert (curve.level, curve.total) == (level, len(scores))
    assert len(scores) == (len(on.graph.writers) - 1 if level == "nodes" else len(on.graph.writers) * on.d_model)
    for size, share in zip(curve.sizes, SHARES, strict=True):
        picked = scores.top(int(share * len(scores)), absolute=selection == "absolute")
        report = ew.evaluate(on, picked, of, metrics=["logit_diff"], random=None)
        assert size.faithfulness == pytest.approx(report["logit_diff"].faithfulness, abs=1e-4)
        assert size.selected == int(share * len(scores))
        weighted = report.live_edges if report.neurons is None else report.neurons.weighted_edges
        assert size.weighted_edges == pytest.approx(weighted)
    assert curve.sizes[-1].kept == len(scores)
    assert curve.sizes[-1].weighted_edges == on.graph.n_edges


def test_the_benchmark_has_three_levels() -> None:
    on, of = subject("qwen2"), pairs()
    nodes = ew.attribute_nodes(on, of)
    for scores, level in ((nodes, "nodes"), (nodes.neuron_scores, "neurons"), (ew.attribute(on, of), "edges")):
        found = benchmark(on, scores, of)
        assert found.cpr == size_curve(on, scores, of, selection="signed").cpr
        assert found.cmd == size_curve(on, scores, of, selection="absolute").cmd
        assert found.random_signed.level == level
        assert found.random_signed.sizes[-2] != found.signed.sizes[-2]
        assert [size.share for size in found.signed.sizes] == list(MIB_SHARES)
        assert f"logit_diff of {level}" in str(found)
        assert found.to_dict()["signed"]["level"] == level


def test_only_edges_are_selected_greedily() -> None:
    on, of = subject("gpt2"), pairs()
    nodes = ew.attribute_nodes(on, of)
    for scores in (nodes, nodes.neuron_scores):
        with pytest.raises(InvalidValue, match="only edges can be selected greedily"):
            size_curve(on, scores, of, selection="greedy-signed")
