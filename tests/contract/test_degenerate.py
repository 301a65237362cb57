"""Degenerate data: every method says the same sentence, or gives the value that is right."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.families import CONFIGS, VOCAB, make_model, pairs, subject
from support.verbs import QUICK, VERBS
from torch import Tensor

import edgewise as ew
from edgewise.errors import NothingScored, NumericalError, PairsError
from edgewise.evaluation import bootstrap
from edgewise.methods import METHODS
from edgewise.metrics import METRICS, Answers, logit_diff
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.search import Search


@pytest.mark.parametrize("name", METHODS)
def test_prompts_that_do_not_differ_are_refused_by_all_that_replace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they differ after the answer position alone, where a causal model never reads."""
    same = replace(pairs(), corrupted=pairs().clean)
    unread = same.clean.clone()
    assert bool((same.positions < unread.shape[1] - 1).any())
    unread[torch.arange(unread.shape[1]) > same.positions[:, None]] += 1
    for of in (same, replace(same, corrupted=unread)):
        monkeypatch.setattr("support.verbs.pairs", lambda of=of: of)
        if not METHODS[name].replaces:
            assert bool(VERBS[name](subject("gpt2")).any())
            continue
        with pytest.raises(NothingScored, match=re.escape(f"the same in all 5 pairs, so that {name} has")):
            VERBS[name](subject("gpt2"))


@pytest.mark.parametrize("name", VERBS)
def test_a_model_that_masks_logits_is_told_what_to_mask_them_with(name: str) -> None:
    """Where it is loaded, and where it begins to do so afterwards; with a large negative number everything works."""
    model, answers = make_model(CONFIGS["gpt-j"]()), torch.cat([pairs().correct, pairs().wrong]).unique().tolist()
    unused = next(token for token in range(VOCAB) if token not in answers)
    on = ew.load(model)
    for value in (-1e4, -torch.inf):
        with torch.no_grad():
            model.lm_head.bias[unused] = value
        if value == -1e4:
            VERBS[name](on)
    for again in (lambda: VERBS[name](on), lambda: ew.load(model)):
        with pytest.raises(
            NumericalError, match=r"masks 1 of 50 logits with -inf: mask them with a large negative number"
        ):
            again()


@pytest.mark.parametrize("name", ["eap", "exact", "acdc"])
def test_one_pair_that_differs_and_other_ablations_are_enough(name: str) -> None:
    of, on = pairs(), subject("gpt2")
    one = replace(of, corrupted=torch.cat([of.corrupted[:1], of.clean[1:]]))
    same = replace(of, corrupted=of.clean)
    for found_on, how in ((one, {}), (same, {"ablation": "zero"})):
        if name == "acdc":
            assert len(ew.discover(on, found_on, method=name, tau=1e-4, **how))
        else:
            assert bool(ew.attribute(on, found_on, method=name, **how).values.any())


# -- a metric that says nothing ---------------------------------------------------------------------------------------

# Methods that are told nothing by the metric of a run: they go by chance, by what flows, or by a loss of their own.
WITHOUT_METRIC = {"random", "information-flow-routes", "ugs"}
GOING_BY_METRIC = [name for name in METHODS if name not in WITHOUT_METRIC]


def without_gradient(logits: Tensor, answers: Any, clean: Tensor) -> Tensor:
    return torch.ones(len(logits))


def without_slope(logits: Tensor, answers: Any, clean: Tensor) -> Tensor:
    return logits.sum(dim=-1) * 0 + 1


def but_for_rounding(logits: Tensor, answers: Any, clean: Tensor) -> Tensor:
    """The probability of anything at all, whose gradient is what rounding leaves."""
    return logits.softmax(dim=-1).sum(dim=-1)


def found(name: str, on: Subject, of: Pairs, **how: Any) -> Tensor:
    options = {**QUICK.get(name, {}), **how}
    if issubclass(METHODS[name], Search):
        return ew.discover(on, of, method=name, **options).mask
    return ew.attribute(on, of, method=name, **options).values


@pytest.mark.parametrize("metric", [without_gradient, without_slope, but_for_rounding])
@pytest.mark.parametrize("name", GOING_BY_METRIC)
def test_a_constant_metric_ranks_nothing(name: str, metric: Any) -> None:
    """No circuit is made of the rounding of a number that no edge changes."""
    sentence = f"every score is zero: {metric.__name__} does not change on these pairs"
    if metric is without_gradient:
        sentence += f"|the metric {metric.__name__} gives numbers without a gradient"
    with pytest.raises(NumericalError, match=sentence):
        found(name, subject("gpt2"), pairs(), metric=metric)


def test_so_it_is_where_examples_are_drawn_again_and_at_all_values_of_a_sweep() -> None:
    on, sentence = subject("gpt2"), "every score is zero: but_for_rounding does not change on these pairs"
    with pytest.raises(NothingScored, match=sentence):
        bootstrap(on, pairs(), edges=9, method="eap", metric=but_for_rounding)
    with pytest.raises(NothingScored, match=sentence):
        ew.sweep(on, pairs(), values=[0.1, 0.01], metric=but_for_rounding)
    report = ew.evaluate(on, ew.Circuit.full(on.graph), pairs(), metrics=[without_slope])
    assert math.isnan(report["without_slope"].faithfulness)
    assert "without_slope is 1 on the clean prompts, no better than 1 with every edge replaced" in str(report)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", GOING_BY_METRIC)
def test_a_metric_that_is_no_number_is_refused_before_anything_is_made_of_it(name: str, value: float) -> None:
    def broken(logits: Tensor, answers: Any, clean: Tensor) -> Tensor:
        return logits[:, 0] + value

    with pytest.raises(NumericalError, match=rf"the metric broken is {value} for \d example"):
        found(name, subject("gpt2"), pairs(), metric=broken)


def test_methods_that_need_no_metric_take_any() -> None:
    for name in WITHOUT_METRIC:
        assert bool(found(name, subject("gpt2"), pairs(), metric=without_gradient).any())


def test_a_small_metric_is_not_taken_for_rounding() -> None:
    """What counts as rounding follows the size of the metric: one of 1e-9 may change by 1e-10."""
    small = lambda logits, answers, clean: 1e-9 * logit_diff(logits, answers, clean)  # noqa: E731
    on = subject("gpt2")
    for name in ("eap", "exact"):
        values = ew.attribute(on, pairs(), method=name, metric=small).values
        usual = ew.attribute(on, pairs(), method=name, metric="logit_diff").values
        torch.testing.assert_close(values * 1e9, usual, rtol=1e-2, atol=1e-3)


# -- few pairs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [name for name in VERBS if name != "logits"])
def test_no_pairs_are_refused_by_every_verb(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    none = pairs()[:0]
    monkeypatch.setattr("support.verbs.pairs", lambda: none)
    with pytest.raises(PairsError, match="pairs: there are no pairs; give one at least"):
        VERBS[verb](subject("gpt2"))


@pytest.mark.parametrize("name", METHODS)
def test_one_pair_is_enough(name: str) -> None:
    values = found(name, subject("gpt2"), pairs()[:1])
    assert bool(values.double().isfinite().all())


# -- masked logits ----------------------------------------------------------------------------------------------------

LOGITS = torch.tensor([[1.0, 2.0, 0.5, -torch.inf], [0.3, -torch.inf, 0.1, -torch.inf]])
CLEAN_LOGITS = torch.tensor([[2.0, 1.0, 0.5, -torch.inf], [0.3, 0.2, 0.1, -torch.inf]])
RIGHT_AND_WRONG = Answers(torch.tensor([[1], [0]]), torch.tensor([[0], [2]]))


@pytest.mark.parametrize("name", METRICS)
def test_masked_logits_give_the_right_value_or_a_sentence(name: str) -> None:
    """A token that is masked everywhere changes nothing; one that is masked here alone is infinitely far for KL."""
    metric, masked = METRICS[name], LOGITS[:1]
    rest = slice(0, 3)
    first = Answers(RIGHT_AND_WRONG.correct[:1], RIGHT_AND_WRONG.wrong[:1])
    expected = metric.value(masked[:, rest], first, CLEAN_LOGITS[:1, rest])
    at = masked.clone().requires_grad_()
    value = metric.value(at, first, CLEAN_LOGITS[:1])
    torch.testing.assert_close(value.detach(), expected)
    if metric.differentiable:
        (gradient,) = torch.autograd.grad(value.sum(), at)
        assert bool(gradient.isfinite().all())
        assert gradient[0, 3] == 0
    unlikely = Answers(torch.tensor([[1], [1]]), torch.tensor([[3], [3]]))
    if name in ("kl", "nll", "logit_diff"):
        with pytest.raises(NumericalError, match=f"the metric {name} is (inf|nan) for"):
            metric.value(LOGITS, unlikely, CLEAN_LOGITS)
    else:
        assert bool(metric.value(LOGITS, unlikely, CLEAN_LOGITS).isfinite().all())


def test_weights_that_are_no_numbers_are_the_same_sentence_everywhere() -> None:
    model = copy.deepcopy(subject("gpt2").model)
    on = ew.load(model)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight[0, 0] = math.nan
    for verb in VERBS.values():
        with pytest.raises(NumericalError, match="gives NaN or infinite logits for"):
            verb(on)
