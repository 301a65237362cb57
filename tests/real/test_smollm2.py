"""What edgewise promises, on a pretrained language model of 30 layers and 70,651 edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.browser import Opener
from support.families import corrupted_run, distance
from torch import Tensor

import edgewise as ew
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.evaluation import evaluate_each
from edgewise.metrics import Answers, logit_diff
from edgewise.models import Subject
from edgewise.viewer import Finding

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("real")]

EDGES_PATCHED = 10
TENTH = 7_065


def metric_of(logits: Tensor, of: ew.Pairs) -> Tensor:
    return logit_diff(logits, Answers(of.correct, of.wrong), logits)


def test_it_predicts_what_a_language_model_predicts(smollm2: Subject) -> None:
    text = "When Mary and John went to the store, John gave a drink to"
    tokens = torch.tensor([smollm2.tokenizer(text)["input_ids"]])
    logits = smollm2.logits(tokens, torch.tensor([tokens.shape[1] - 1]))[0]
    assert smollm2.tokenizer.decode([int(logits.argmax())]) == " Mary"
    assert float(logits.softmax(dim=-1).max()) > 0.85
    assert (smollm2.graph.layers, smollm2.graph.n_edges) == (30, 70_651)


SLOW = [
    pytest.param(task, marks=pytest.mark.slow) for task in ("capitals", "subject-verb-agreement", "gendered-pronoun")
]


@pytest.mark.parametrize("task", ["ioi", "greater-than", *SLOW])
def test_it_has_the_behaviours_of_the_tasks(smollm2: Subject, task: str) -> None:
    of = ew.task(task).pairs(smollm2.tokenizer, n=16, seed=5)
    ends = ew.evaluate(smollm2, ew.Circuit.from_edges(smollm2.graph, []), of, metrics=["accuracy"], random=None)
    assert ends["accuracy"].clean >= 0.9
    assert ends["accuracy"].corrupted <= 0.6


def test_walking_it_gives_its_native_logits_and_those_of_the_corrupted_run(smollm2: Subject, pairs: ew.Pairs) -> None:
    of, mask = pairs[:4], smollm2.graph.edge_mask.float()
    replacement = corrupted_run(smollm2, of)
    for kept, prompts in ((mask, of.clean), (torch.zeros_like(mask), of.corrupted)):
        walked = masked_forward(
            smollm2, of.clean, of.positions, Mask(kept, candidates=smollm2.graph.edge_mask), replacement
        )
        assert distance(walked, smollm2.logits(prompts, of.positions)) < 1e-4


def test_eap_is_the_gradient_in_the_mask(smollm2: Subject, pairs: ew.Pairs) -> None:
    of = pairs[:1]
    mask = smollm2.graph.edge_mask.float().requires_grad_()
    logits = masked_forward(smollm2, of.clean, of.positions, mask, corrupted_run(smollm2, of))
    gradient = torch.autograd.grad(metric_of(logits, of).mean(), mask)[0] * smollm2.graph.edge_mask
    assert distance(ew.attribute(smollm2, of, method="eap").values, gradient) < 1e-3


def test_edges_patched_alone_have_their_exact_effects(smollm2: Subject, pairs: ew.Pairs, scores: ew.Scores) -> None:
    """A dense masked run without one edge against a native run continued from the node that reads it."""
    of, graph = pairs[:2], smollm2.graph
    edges = scores.top(2000).edges[:: 2000 // EDGES_PATCHED][:EDGES_PATCHED]
    exact = ew.effects(smollm2, of, edges)
    replacement = corrupted_run(smollm2, of)
    clean = float(metric_of(smollm2.logits(of.clean, of.positions), of).mean())
    largest = max(abs(effect) for effect in exact.values())
    assert largest > 0.01
    for edge in edges:
        mask = (ew.Circuit.full(graph) - ew.Circuit.from_edges(graph, [edge])).mask.float()
        logits = masked_forward(smollm2, of.clean, of.positions, mask, replacement)
        patched = clean - float(metric_of(logits, of).mean())
        assert patched == pytest.approx(exact[edge], abs=1e-3 * largest + 1e-4), edge


def test_a_circuit_of_a_tenth_keeps_more_than_it_loses_on_prompts_it_was_not_found_on(
    smollm2: Subject, held_out: ew.Pairs, scores: ew.Scores
) -> None:
    """Each bound is a round share of the way between two runs measured beside it, and says what a circuit is for."""
    report = ew.evaluate(smollm2, scores.top(TENTH), held_out, metrics=["logit_diff", "accuracy", "kl"])
    kept, right, lost = report["logit_diff"], report["accuracy"], report["kl"]
    # Chance keeps nothing; less than a quarter of the behaviour would not be worth the name of a circuit.
    assert kept.random_faithfulness is not None
    assert kept.faithfulness - kept.random_faithfulness > 0.25
    # Of what the corrupted run changes in the whole distribution, the circuit takes back at least half,
    assert lost.circuit < lost.corrupted / 2
    # and its answers are nearer to those of the model than to the corrupted ones, which are right half of the time.
    assert right.circuit > (right.clean + right.corrupted) / 2


def test_more_edges_keep_more_on_prompts_they_were_not_found_on(
    smollm2: Subject, held_out: ew.Pairs, scores: ew.Scores
) -> None:
    """Ten and three times as many, so that the order is not one of chance; in it nothing is left to choose."""
    circuits = [scores.top(size) for size in (TENTH // 10, TENTH, 3 * TENTH)]
    few, some, many = evaluate_each(smollm2, circuits, held_out[:8], metrics=["logit_diff", "kl"])
    assert few["kl"].corrupted > few["kl"].circuit > some["kl"].circuit > many["kl"].circuit
    assert 0 < few["logit_diff"].faithfulness < some["logit_diff"].faithfulness < many["logit_diff"].faithfulness < 1


def test_a_circuit_is_worth_the_same_after_its_way_through_a_file(
    smollm2: Subject, held_out: ew.Pairs, scores: ew.Scores, tmp_path: Path
) -> None:
    circuit, of = scores.top(TENTH).without_dangling(), held_out[:4]
    ew.save(circuit, tmp_path / "circuit.json")
    opened: Any = ew.open(tmp_path / "circuit.json")
    assert opened == circuit
    before, after = (ew.evaluate(smollm2, one, of, metrics=["logit_diff"], random=None) for one in (circuit, opened))
    assert after["logit_diff"].circuit == pytest.approx(before["logit_diff"].circuit, abs=1e-4)


def test_in_float16_scores_and_circuits_are_nearly_those_of_float32(
    smollm2: Subject, pairs: ew.Pairs, scores: ew.Scores
) -> None:
    """Eleven significant bits: sums over 30 layers are good to about one part in a hundred, and so is the order of scores."""
    half, of = ew.load("smollm2", dtype="float16", device=smollm2.device), pairs[:1]
    wide, narrow = (ew.attribute(on, of, method="eap") for on in (smollm2, half))
    assert bool(narrow.values.isfinite().all())
    agreement = narrow.agreement(wide, top=TENTH)
    assert agreement["spearman"] > 0.99
    assert agreement["overlap"] > 0.97
    worth, again = (
        ew.evaluate(on, scores.top(TENTH), of, metrics=["logit_diff"], random=None)["logit_diff"]
        for on in (smollm2, half)
    )
    for run in ("clean", "corrupted", "circuit"):
        assert getattr(again, run) == pytest.approx(getattr(worth, run), abs=0.02 * (worth.clean - worth.corrupted))


def test_the_page_opens_with_seven_thousand_edges(scores: ew.Scores, opening: Opener) -> None:
    circuit = scores.top(TENTH)
    with opening(Finding(circuit, scores)) as opened:
        assert opened.shown() == set(circuit.edges)
        assert opened.status().startswith("7065 of 70651 edges") or opened.status().startswith("7,065 of 70,651 edges")
