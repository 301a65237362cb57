"""The laws of docs/design.md, over every family: what masks, scores and circuits mean, whatever the model.

float64 where a law is about a derivative or an integral; Llama's and Gemma's norms compute in float32 whatever the
model's dtype, so tolerances stay those of float32 sums.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from support.families import (
    EXAMPLES,
    FAMILIES,
    GROUPED_FAMILIES,
    LINEAR,
    TOKENS,
    VOCAB,
    corrupted_run,
    distance,
    make_subject,
    pairs,
    random_circuit,
    random_mask,
    subject,
    subject_of,
    ungrouped,
    without_jumps,
)
from support.thinned import thinned
from torch import Tensor

import edgewise as ew
from edgewise.ablations import ABLATIONS, ablation
from edgewise.attribution import ATTRIBUTIONS
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.replacement import Replacement
from edgewise.metrics import METRICS, Answers, logit_diff
from edgewise.models import Subject
from edgewise.pairs import Pairs

NEAR = 1e-5
every_family = pytest.mark.parametrize("family", FAMILIES)
every_ablation = pytest.mark.parametrize("how", ABLATIONS)
USING_DATA = [name for name in ATTRIBUTIONS if name != "random"]
# Methods whose scores are a drop of the metric, predicted or measured. hisp scores are importances, those of information
# flow shares, those of atp-graddrop mean absolute effects; eap-ig-activations cuts the ways through what it holds; mask-ig
# shares the joint effect of all edges out among them, gim that of factors.
OTHERS = ("atp-graddrop", "hisp", "information-flow-routes", "eap-ig-activations", "mask-ig", "gim")
DROPS = [name for name in USING_DATA if name not in OTHERS]
# Methods that are linear in the gradient, so that a shared key or value scores what its heads would together.
NOT_LINEAR = ("hisp", "information-flow-routes", "atp-qk", "atp-graddrop", "exact", "random")
ADDING = [name for name in ATTRIBUTIONS if name not in NOT_LINEAR]


def scored(on: Subject, of: Pairs, method: str, **how: Any) -> Tensor:
    """Scores by a method, with few steps where it takes any: what holds for one or two holds for five."""
    options = (
        {"steps": 1 if method == "eap-ig-activations" else 2}
        if "steps" in {field.name for field in fields(ATTRIBUTIONS[method])}
        else {}
    )  # type: ignore[arg-type]
    return ew.attribute(on, of, method=method, **how, **options).values


def replacement_of(how: str, on: Subject, of: Pairs) -> Replacement:
    return ablation(how).prepare(on, of, 3)(of)


def metric_of(logits: Tensor, of: Pairs) -> Tensor:
    return logit_diff(logits, Answers(of.correct, of.wrong), logits)


def gradient_at(on: Subject, of: Pairs, mask: Tensor, replacement: Replacement) -> Tensor:
    """Derivative with respect to the mask of the metric's mean over the examples."""
    mask = mask.clone().requires_grad_()
    logits = masked_forward(on, of.clean, of.positions, mask, replacement)
    return torch.autograd.grad(metric_of(logits, of).mean(), mask)[0]


# -- 1 and 2: the ends of the mask ------------------------------------------------------------------------------------


@every_family
@every_ablation
def test_1_mask_one_gives_the_clean_logits(family: str, how: str) -> None:
    on, of = subject(family), pairs()
    ones = on.graph.edge_mask.float()
    walked = masked_forward(on, of.clean, of.positions, ones, replacement_of(how, on, of))
    assert distance(walked, on.logits(of.clean, of.positions)) < NEAR


@every_family
@every_ablation
def test_2_mask_zero_gives_the_replaced_logits(family: str, how: str) -> None:
    on, of = subject(family), pairs()
    replacement = replacement_of(how, on, of)
    expected = replacement.logits(on, of.positions)
    zeros = torch.zeros(on.graph.edge_mask.shape)
    skipped = masked_forward(on, of.clean, of.positions, zeros, replacement)
    computed = masked_forward(on, of.clean, of.positions, Mask(zeros, candidates=on.graph.edge_mask), replacement)
    assert distance(skipped, expected) < NEAR
    assert distance(computed, expected) < NEAR


@every_family
def test_2_corrupted_replacement_gives_the_corrupted_logits(family: str) -> None:
    on, of = subject(family), pairs()
    zeros = torch.zeros(on.graph.edge_mask.shape)
    walked = masked_forward(on, of.clean, of.positions, zeros, corrupted_run(on, of))
    assert distance(walked, on.logits(of.corrupted, of.positions)) < NEAR


def test_the_two_ends_differ() -> None:
    for family in FAMILIES:
        on, of = subject(family), pairs()
        assert distance(on.logits(of.clean, of.positions), on.logits(of.corrupted, of.positions)) > 0.1


# -- 3, 4, 5: what EAP means ------------------------------------------------------------------------------------------


@every_family
@every_ablation
def test_3_eap_is_the_gradient_with_respect_to_the_mask_at_one(family: str, how: str) -> None:
    on, of = subject(family, torch.float64), pairs()
    scores = ew.attribute(on, of, method="eap", ablation=how, batch_size=2)
    gradient = gradient_at(on, of, on.graph.edge_mask.double(), replacement_of(how, on, of))
    assert distance(scores.values, gradient * on.graph.edge_mask) < NEAR


@every_family
def test_3_in_float32_too(family: str) -> None:
    on, of = subject(family), pairs()
    scores = ew.attribute(on, of, method="eap")
    gradient = gradient_at(on, of, on.graph.edge_mask.float(), corrupted_run(on, of))
    assert distance(scores.values, gradient * on.graph.edge_mask) < NEAR


@every_ablation
@pytest.mark.parametrize("method", [name for name in DROPS if name != "exact"])
def test_4_on_a_linear_model_predicted_drops_are_exact(method: str, how: str) -> None:
    on, of = make_subject(LINEAR), pairs()
    predicted, exact = (scored(on, of, name, ablation=how) for name in (method, "exact"))
    assert distance(predicted, exact) < NEAR
    assert float(exact.abs().max()) > 0.1


@cache
def exact_of(family: str) -> Tensor:
    return scored(subject(family), pairs(), "exact")


@every_family
@pytest.mark.parametrize("method", [name for name in DROPS if name != "exact"])
def test_4_on_others_they_are_not(method: str, family: str) -> None:
    assert distance(scored(subject(family), pairs(), method), exact_of(family)) > 0.05


@every_family
@every_ablation
def test_5_integrated_gradients_along_the_mask_path_sum_to_the_whole_effect(family: str, how: str) -> None:
    on, of = without_jumps(family), pairs()[:2]
    replacement = replacement_of(how, on, of)
    points, weights = path_points(how, panels=32 if family in ("toy-without-norms", "opt") else 12)
    masks = points[:, None, None] * on.graph.edge_mask
    masks.requires_grad_()
    logits = masked_forward(on, of.clean, of.positions, masks, replacement)
    per_point = torch.stack([metric_of(one, of).mean() for one in logits])
    gradient = torch.autograd.grad((per_point * weights).sum(), masks)[0].sum(dim=0)
    clean = metric_of(on.logits(of.clean, of.positions), of).mean()
    replaced = metric_of(replacement.logits(on, of.positions), of).mean()
    scale = float(gradient.abs().sum())
    # The gradient jumps where a ReLU opens: each jump costs what its panel misses, whatever the order of the rule.
    near = 2e-3 if family == "opt" else 1e-4
    assert abs(float(gradient.sum() - (clean - replaced))) < near * scale


def path_points(how: str, panels: int) -> tuple[Tensor, Tensor]:
    """Places on the path from 0 to 1 and their weights: Gauss-Legendre, panels of 8 points.

    Replaced by zeros, the residual stream starts at the singular point of an RMS norm, so points crowd there (α = t⁴).
    """
    points, weights = (torch.tensor(x) for x in np.polynomial.legendre.leggauss(8))
    t = torch.cat([(panel + (points + 1) / 2) / panels for panel in range(panels)])
    weights, power = (weights / (2 * panels)).repeat(panels), 4 if how == "zero" else 1
    return t**power, weights * power * t ** (power - 1)


# -- 6: scores belong to the pairs, not to how they are batched -------------------------------------------------------


SCORED = [(method, "corrupted") for method in USING_DATA] + [("eap", "mean"), ("eap-ig", "position-mean")]


@pytest.mark.parametrize(("method", "how", "family"), thinned(SCORED, FAMILIES, one_in=6))
def test_6_scores_do_not_depend_on_batches_order_or_padding(family: str, method: str, how: str) -> None:
    on, of = subject(family), pairs()
    expected = scored(on, of, method, ablation=how, batch_size=EXAMPLES)
    for other, size in ((of, 1), (of[[3, 0, 4, 2, 1]], 2), (padded(of), 3)):
        again = scored(on, other, method, ablation=how, batch_size=size)
        assert distance(again, expected) < NEAR


def padded(of: Pairs) -> Pairs:
    """The same pairs with other tokens after the answer positions, and more of them."""
    generator = torch.Generator().manual_seed(2)

    def pad(tokens: Tensor) -> Tensor:
        noise = torch.randint(VOCAB, (EXAMPLES, TOKENS + 3), generator=generator)
        noise[:, :TOKENS] = torch.where(torch.arange(TOKENS) <= of.positions[:, None], tokens, noise[:, :TOKENS])
        return noise

    return Pairs(pad(of.clean), pad(of.corrupted), of.correct, of.wrong, of.positions)


@pytest.mark.parametrize("family", ["toy", "gpt2", "gemma2"])
def test_6_trained_gates_do_not_depend_on_padding(family: str) -> None:
    """What is trained goes through the pairs in batches of its own: there the batches are part of the method."""
    on, of, how = subject(family), pairs(), {"steps": 5, "batch": 2, "seed": 1}
    plain, wide = (ew.attribute(on, these, method="ugs", **how).values for these in (of, padded(of)))
    assert distance(wide, plain) < NEAR
    assert plain.std() > 0
    plain, wide = (ew.discover(on, these, method="edge-pruning", edges=40, **how) for these in (of, padded(of)))
    assert wide == plain


@every_family
def test_6_evaluation_does_not_either(family: str) -> None:
    on, of = subject(family), pairs()
    circuit = random_circuit(on, 0.5, seed=3)
    expected = torch.tensor(ew.evaluate(on, circuit, of, batch_size=EXAMPLES)["logit_diff"].values)
    for other, size in ((of, 1), (padded(of), 2)):
        again = torch.tensor(ew.evaluate(on, circuit, other, batch_size=size)["logit_diff"].values)
        assert distance(again, expected) < NEAR


@every_family
def test_6_what_stands_behind_the_answers_changes_no_masked_run(family: str) -> None:
    on, of, mask = subject(family), pairs(), random_mask(subject(family), 4)
    expected = masked_forward(on, of.clean, of.positions, mask, corrupted_run(on, of))
    wide = padded(of)
    again = masked_forward(on, wide.clean, wide.positions, mask, corrupted_run(on, wide))
    assert distance(again, expected) < NEAR


# -- 7: dangling edges ------------------------------------------------------------------------------------------------


@every_family
@every_ablation
def test_7_dropping_dangling_edges_does_not_change_what_a_circuit_computes(family: str, how: str) -> None:
    on, of = subject(family), pairs()
    replacement = replacement_of(how, on, of)
    dropped = 0
    for seed, density in enumerate((0.03, 0.06, 0.1, 0.15, 0.25, 0.5)):
        circuit = random_circuit(on, density, seed)
        kept = circuit.without_dangling()
        a, b = (masked_forward(on, of.clean, of.positions, c.mask.float(), replacement) for c in (circuit, kept))
        assert distance(a, b) < NEAR
        dropped += len(circuit) - len(kept)
    assert dropped > 10


@every_family
@every_ablation
def test_7_also_where_everything_is_computed(family: str, how: str) -> None:
    """Told that any edge may be kept, the engine skips nothing: dead nodes must still output their replacement."""
    on, of = subject(family), pairs()
    replacement = replacement_of(how, on, of)
    for seed in range(3):
        mask = random_circuit(on, 0.12, seed).mask.float()
        sparse = masked_forward(on, of.clean, of.positions, mask, replacement)
        dense = masked_forward(on, of.clean, of.positions, Mask(mask, candidates=on.graph.edge_mask), replacement)
        assert distance(dense, sparse) < NEAR


# -- 9: the edges of a family -----------------------------------------------------------------------------------------


@every_family
def test_9_the_exact_score_is_what_removing_that_edge_from_the_full_circuit_costs(family: str) -> None:
    on, of = subject(family, torch.float64), pairs()
    exact = ew.attribute(on, of, method="exact")
    full = ew.Circuit.full(on.graph)
    clean = ew.evaluate(on, full, of, random=None)["logit_diff"].circuit
    for edge in on.graph.edges[:: len(on.graph.edges) // 12]:
        without = ew.evaluate(on, full - ew.Circuit.from_edges(on.graph, [edge]), of, random=None)
        assert abs(clean - without["logit_diff"].circuit - exact[edge]) < 1e-6


@every_family
def test_9_eap_ig_with_one_step_at_the_clean_run_is_eap(family: str) -> None:
    on, of = subject(family), pairs()
    eap = ew.attribute(on, of, method="eap").values
    assert torch.equal(ew.attribute(on, of, method="eap-ig", steps=1, points="right").values, eap)
    assert distance(ew.attribute(on, of, method="eap-ig", steps=1).values, eap) > 0.1


@every_family
def test_9_relp_without_rules_is_eap(family: str) -> None:
    on, of = subject(family), pairs()
    eap = ew.attribute(on, of, method="eap").values
    assert torch.equal(ew.attribute(on, of, method="relp", rules=()).values, eap)
    if family == "toy-separate-bare":  # neither norms nor activations: there is nothing the rules could change
        assert torch.equal(ew.attribute(on, of, method="relp").values, eap)
    else:
        assert distance(ew.attribute(on, of, method="relp").values, eap) > 0.1


@every_family
def test_9_all_edges_are_clean_and_none_corrupted(family: str) -> None:
    on, of = subject(family), pairs()
    names = list(METRICS)
    full = ew.evaluate(on, ew.Circuit.full(on.graph), of, metrics=names)
    empty = ew.evaluate(on, ew.Circuit(on.graph, torch.zeros_like(on.graph.edge_mask)), of, metrics=names)
    for name in names:
        assert full[name].circuit == pytest.approx(full[name].clean, abs=1e-5)
        assert empty[name].circuit == pytest.approx(empty[name].corrupted, abs=1e-5)


# -- 10: grouped keys and values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", GROUPED_FAMILIES)
@pytest.mark.parametrize("method", ADDING)
def test_10_a_shared_reader_scores_the_sum_of_what_its_heads_would_score(method: str, family: str) -> None:
    shared, of = subject(family), pairs()
    apart = subject_of(ungrouped(shared.model))
    assert distance(apart.logits(of.clean, of.positions), shared.logits(of.clean, of.positions)) < NEAR
    assert apart.graph.kv_heads == 2 * shared.graph.kv_heads
    ours, theirs = (scored(on, of, method) for on in (shared, apart))
    assert distance(ours, _shared(theirs, apart, 2)) < NEAR


def _shared(values: Tensor, apart: Subject, group: int) -> Tensor:
    """Scores of an ungrouped model with those of the k and v readers of a group added up."""
    graph, columns = apart.graph, []
    for layer in range(graph.layers):
        columns.append(values[:, graph.q_readers(layer)])
        sides = (graph.k_readers(layer), graph.v_readers(layer))
        columns.extend(values[:, side].unflatten(1, (-1, group)).sum(dim=2) for side in sides)
        if graph.mlps:
            columns.append(values[:, graph.mlp_reader(layer)][:, None])
    return torch.cat([*columns, values[:, -1:]], dim=1)
