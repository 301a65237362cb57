"""The first laws, and one method of every kind, on models whose matrices are kept in few bits or have adapters beside them.

Tolerances are those of float32 sums, but for kernels that compute in bfloat16 (`near`).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.families import corrupted_run, distance, pairs, random_mask
from support.kept_weights import KINDS, kept_subject, near
from support.one_at_a_time import OneAtATime, read_trace

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.replacement import Replacement
from edgewise.metrics import Answers, logit_diff
from edgewise.models import Subject
from edgewise.search.acdc import ACDC

every_kind = pytest.mark.parametrize("kind", KINDS)


def walked(on: Subject, mask: torch.Tensor, replacement: Replacement) -> torch.Tensor:
    return masked_forward(on, pairs().clean, pairs().positions, mask, replacement)


def gradient(on: Subject, mask: torch.Tensor, replacement: Replacement) -> torch.Tensor:
    mask = mask.clone().requires_grad_()
    logits = walked(on, mask, replacement)
    return torch.autograd.grad(logit_diff(logits, Answers(pairs().correct, pairs().wrong), logits).mean(), mask)[0]


@every_kind
def test_1_mask_one_gives_the_clean_logits(kind: str) -> None:
    on, of = kept_subject(kind), pairs()
    ones = on.graph.edge_mask.float()
    clean = on.logits(of.clean, of.positions)
    assert distance(walked(on, ones, corrupted_run(on, of)), clean) < near(kind)
    assert distance(on.logits(of.corrupted, of.positions), clean) > 2 * near(kind)


@every_kind
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_2_mask_zero_gives_the_replaced_logits(kind: str, how: str) -> None:
    on, of = kept_subject(kind), pairs()
    replacement = ablation(how).prepare(on, of, 3)(of)
    computed = masked_forward(
        on,
        of.clean,
        of.positions,
        Mask(torch.zeros(on.graph.edge_mask.shape), candidates=on.graph.edge_mask),
        replacement,
    )
    assert distance(computed, replacement.logits(on, of.positions)) < near(kind)
    if how == "corrupted":
        assert distance(computed, on.logits(of.corrupted, of.positions)) < near(kind)


@every_kind
def test_3_eap_is_the_gradient_with_respect_to_the_mask_at_one(kind: str) -> None:
    on, of = kept_subject(kind), pairs()
    scores = ew.attribute(on, of, method="eap", batch_size=2).values
    expected = gradient(on, on.graph.edge_mask.float(), corrupted_run(on, of)) * on.graph.edge_mask
    assert distance(scores, expected) < near(kind)


@every_kind
def test_between_the_ends_a_step_in_the_mask_moves_the_metric_as_its_gradient_says(kind: str) -> None:
    """The walk's own backward pass, which asks for the matrices once more."""
    on, of = kept_subject(kind), pairs()
    if on.precision is not torch.float32:
        pytest.skip("differences of bfloat16 logits say nothing about small steps")
    replacement, mask = corrupted_run(on, of), random_mask(on, 3).float()
    towards = random_mask(on, 4).float() * on.graph.edge_mask
    step = 2e-2

    def metric(at: torch.Tensor) -> torch.Tensor:
        logits = walked(on, at, replacement)
        return logit_diff(logits, Answers(of.correct, of.wrong), logits).double().mean()

    difference = (metric(mask + step * towards) - metric(mask - step * towards)) / (2 * step)
    slope = (gradient(on, mask, replacement) * towards).sum()
    assert abs(float(difference - slope)) < 0.05 * max(1.0, abs(float(slope)))


@every_kind
def test_exact_agrees_with_one_edge_taken_out_of_a_walk(kind: str) -> None:
    on, of = kept_subject(kind), pairs()
    exact, replacement = ew.attribute(on, of, method="exact").values, corrupted_run(on, of)
    clean = on.logits(of.clean, of.positions)
    answers = Answers(of.correct, of.wrong)
    scale = float(exact.abs().max())
    for writer, reader in on.graph.edge_mask.nonzero()[:: on.graph.n_edges // 6].tolist():
        mask = on.graph.edge_mask.float()
        mask[writer, reader] = 0
        drop = logit_diff(clean, answers, clean) - logit_diff(walked(on, mask, replacement), answers, clean)
        assert abs(float(drop.mean()) - float(exact[writer, reader])) < 20 * near(kind) * scale


@every_kind
def test_searches_training_and_judging_run(kind: str) -> None:
    on, of = kept_subject(kind), pairs()
    searched = ew.discover(on, of, method="acdc", tau=0.001)
    assert 0 < len(searched) < on.graph.n_edges
    trained = ew.discover(on, of, method="edge-pruning", edges=40, steps=4)
    assert len(trained) == 40
    report = ew.evaluate(on, ew.Circuit.full(on.graph), of, metrics=["logit_diff"], random=None)["logit_diff"]
    assert abs(report.circuit - report.clean) < 40 * near(kind) * max(1.0, abs(report.clean))


@pytest.mark.parametrize("kind", ["lora-fused", "two-adapters", "torchao-int4", "bitsandbytes-8"])
def test_acdc_decides_as_one_walk_after_the_other_does(kind: str, tmp_path: Path) -> None:
    on, of, trace = kept_subject(kind), pairs(), tmp_path / "trace.jsonl"
    _, expected = OneAtATime(on, of, ACDC(tau=0.01).criterion, "kl", "corrupted").run()
    ew.discover(on, of, method="acdc", tau=0.01, metric="kl", trace=str(trace))
    alike = 0
    for ours, theirs in zip(read_trace(trace), expected, strict=False):
        assert ours.edge == theirs.edge
        assert ours.after == pytest.approx(theirs.after, abs=1e-5)
        if (
            ours.kept != theirs.kept
        ):  # so close that the last bits decide, and all that comes after it is another search
            assert abs(ours.after - ours.before - 0.01) < 1e-5
            break
        alike += 1
    assert alike > 20


@pytest.mark.parametrize("kind", ["lora", "lora-conv1d", "dora", "torchao-int8", "bitsandbytes-8", "bitsandbytes-4"])
@pytest.mark.parametrize("method", ["relp", "gim"])
def test_backward_rules_find_their_way_through_adapters_and_few_bits(kind: str, method: str) -> None:
    scores = ew.attribute(kept_subject(kind), pairs(), method=method).values
    assert bool(scores.isfinite().all())
    assert float(scores.abs().max()) > 0
