"""Metrics: numbers worked by hand, scipy and scikit-learn where they know the same quantity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import log_loss, top_k_accuracy_score
from support.families import pairs, subject
from torch import Tensor

import edgewise as ew
from edgewise.errors import InvalidValue, PairsError, UnknownName
from edgewise.metrics import METRICS, Answers, Metric, accuracy, kl, logit_diff, metric, nll, prob_diff

# Probabilities of 4 tokens for two examples; softmax gives them back from their logarithms.
PROBABILITIES = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.125, 0.125, 0.25, 0.5]])
LOGITS = PROBABILITIES.log()

DIFFERENTIABLE = [name for name, m in METRICS.items() if m.differentiable]


def _answers(correct: list[list[int]], wrong: list[list[int]] | None = None) -> Answers:
    return Answers(torch.tensor(correct), torch.tensor(wrong or [[-1]] * len(correct)))


def _near(actual: Tensor, *expected: float) -> bool:
    return torch.allclose(actual, torch.tensor(expected, dtype=actual.dtype), atol=1e-6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Answers]:
    """Logits, clean logits [example, vocab] and one correct and one wrong answer each."""
    examples, vocab = draw(st.integers(1, 5)), draw(st.integers(3, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.1, 1.0, 10.0]))
    logits, clean = torch.randn(2, examples, vocab, generator=generator, dtype=torch.float64) * scale
    correct = torch.randint(vocab, (examples, 1), generator=generator)
    wrong = (correct + torch.randint(1, vocab, (examples, 1), generator=generator)) % vocab
    return logits, clean, Answers(correct, wrong)


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_logit_difference_of_single_answers() -> None:
    # log 0.5 - log 0.25 = log 2; log 0.25 - log 0.5 = -log 2
    assert _near(logit_diff(LOGITS, _answers([[0], [2]], [[1], [3]]), LOGITS), math.log(2), -math.log(2))


def test_logit_difference_is_of_means_without_padding() -> None:
    # logits 2, 5, 1, 7: (5 + 7) / 2 - (2 + 1) / 2 = 4.5, and 7 - 2 = 5
    logits = torch.tensor([[2.0, 5.0, 1.0, 7.0]]).repeat(2, 1)
    assert _near(logit_diff(logits, _answers([[1, 3], [3, -1]], [[0, 2], [0, -1]]), logits), 4.5, 5.0)


def test_probability_difference_is_of_sums() -> None:
    # 0.5 + 0.125 - 0.25 = 0.375; 0.5 - (0.125 + 0.125) = 0.25
    answers = _answers([[0, 2], [3, -1]], [[1, -1], [0, 1]])
    assert _near(prob_diff(LOGITS, answers, LOGITS), 0.375, 0.25)


def test_kl_of_a_uniform_guess() -> None:
    # sum p log(p / 0.25) = 0.5 log 2 + 0 + 2 * 0.125 * log 0.5 = 0.25 log 2
    uniform = torch.zeros(2, 4)
    assert _near(kl(uniform, _answers([[0], [0]]), LOGITS), 0.25 * math.log(2), 0.25 * math.log(2))


def test_kl_is_taken_from_the_clean_side() -> None:
    skewed = torch.tensor([[0.97, 0.01, 0.01, 0.01]]).log()
    uniform = torch.zeros(1, 4)
    forward = 0.97 * math.log(0.97 * 4) + 3 * 0.01 * math.log(0.01 * 4)
    backward = 0.25 * math.log(0.25 / 0.97) + 3 * 0.25 * math.log(0.25 / 0.01)
    answers = _answers([[0]])
    assert _near(kl(uniform, answers, skewed), forward)
    assert _near(kl(skewed, answers, uniform), backward)


def test_nll_of_one_answer_and_of_several_together() -> None:
    # -log 0.5 = log 2; -log(0.25 + 0.5) = log(4 / 3)
    assert _near(nll(LOGITS, _answers([[0, -1], [2, 3]]), LOGITS), math.log(2), math.log(4 / 3))


def test_accuracy_against_wrong_answers_looks_at_no_other_token() -> None:
    # Token 3 wins the second row, but only token 2 is called wrong.
    assert accuracy(LOGITS, _answers([[1], [2]], [[2], [0]]), LOGITS).tolist() == [1.0, 1.0]
    assert accuracy(LOGITS, _answers([[1], [2]], [[0], [3]]), LOGITS).tolist() == [0.0, 0.0]


def test_accuracy_without_wrong_answers_looks_at_all_tokens() -> None:
    assert accuracy(LOGITS, _answers([[0], [2]]), LOGITS).tolist() == [1.0, 0.0]


def test_accuracy_decides_for_each_example_whether_it_has_wrong_answers() -> None:
    # First row: token 1 beats 2, though not 0. Second row: without wrong answers token 2 loses to 3.
    assert accuracy(LOGITS, _answers([[1], [2]], [[2], [-1]]), LOGITS).tolist() == [1.0, 0.0]


def test_accuracy_takes_the_best_of_several_answers() -> None:
    assert accuracy(LOGITS, _answers([[2, 0], [0, 2]], [[1, -1], [1, 3]]), LOGITS).tolist() == [1.0, 0.0]


def test_a_tie_with_a_wrong_answer_is_not_right() -> None:
    assert accuracy(LOGITS, _answers([[2], [0]], [[3], [1]]), LOGITS).tolist() == [0.0, 0.0]


# -- against the standard libraries -----------------------------------------------------------------------------------


@given(cases())
def test_kl_is_that_of_scipy(case: tuple[Tensor, Tensor, Answers]) -> None:
    logits, clean, answers = case
    expected = stats.entropy(special.softmax(clean.numpy(), axis=1), special.softmax(logits.numpy(), axis=1), axis=1)
    np.testing.assert_allclose(kl(logits, answers, clean), expected, rtol=1e-7, atol=1e-9)


@given(cases())
def test_probabilities_are_those_of_scipy(case: tuple[Tensor, Tensor, Answers]) -> None:
    logits, clean, answers = case
    p, rows = special.softmax(logits.numpy(), axis=1), np.arange(len(logits))
    right, against = answers.correct[:, 0].numpy(), answers.wrong[:, 0].numpy()
    np.testing.assert_allclose(prob_diff(logits, answers, clean), p[rows, right] - p[rows, against], atol=1e-12)
    log_p = special.log_softmax(logits.numpy(), axis=1)
    # The normaliser cancels, so the difference of logits is that of log-probabilities.
    np.testing.assert_allclose(logit_diff(logits, answers, clean), log_p[rows, right] - log_p[rows, against], atol=1e-9)


@given(cases())
def test_losses_are_those_of_scikit_learn(case: tuple[Tensor, Tensor, Answers]) -> None:
    logits, clean, answers = case
    p, labels = special.softmax(logits.numpy(), axis=1), range(logits.shape[1])
    right = answers.correct[:, 0].numpy()
    assume(p.min() > 1e-12)  # scikit-learn clips smaller probabilities
    assert float(nll(logits, answers, clean).mean()) == pytest.approx(log_loss(right, p, labels=labels), abs=1e-9)
    alone = Answers(answers.correct, torch.full_like(answers.wrong, -1))
    share = top_k_accuracy_score(right, logits.numpy(), k=1, labels=labels)
    assert float(accuracy(logits, alone, clean).mean()) == pytest.approx(share)


# -- laws -------------------------------------------------------------------------------------------------------------


@given(cases(), st.floats(-50, 50))
@pytest.mark.parametrize("name", METRICS)
def test_a_constant_added_to_all_logits_changes_nothing(
    name: str, case: tuple[Tensor, Tensor, Answers], shift: float
) -> None:
    logits, clean, answers = case
    value = METRICS[name].value(logits, answers, clean)
    torch.testing.assert_close(METRICS[name].value(logits + shift, answers, clean + shift), value)


@given(cases())
@pytest.mark.parametrize("name", METRICS)
def test_each_example_counts_for_itself(name: str, case: tuple[Tensor, Tensor, Answers]) -> None:
    logits, clean, answers = case
    together = METRICS[name].value(logits, answers, clean)
    assert together.shape == (len(logits),)
    for i in range(len(logits)):
        alone = Answers(answers.correct[i : i + 1], answers.wrong[i : i + 1])
        torch.testing.assert_close(METRICS[name].value(logits[i : i + 1], alone, clean[i : i + 1])[0], together[i])


@given(cases())
@pytest.mark.parametrize("name", METRICS)
def test_padding_of_answers_changes_nothing(name: str, case: tuple[Tensor, Tensor, Answers]) -> None:
    logits, clean, answers = case
    padding = torch.full((len(logits), 2), -1)
    padded = Answers(torch.cat([padding, answers.correct], 1), torch.cat([answers.wrong, padding], 1))
    expected = METRICS[name].value(logits, answers, clean)
    torch.testing.assert_close(METRICS[name].value(logits, padded, clean), expected)


@given(cases())
def test_kl_is_never_negative_and_zero_where_the_logits_agree(case: tuple[Tensor, Tensor, Answers]) -> None:
    logits, clean, answers = case
    assert (kl(logits, answers, clean) >= -1e-12).all()
    assert _near(kl(clean, answers, clean), *[0.0] * len(clean))


@given(cases())
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_metric_is_flat_at_clean_exactly_where_it_says_so(name: str, case: tuple[Tensor, Tensor, Answers]) -> None:
    _, clean, answers = case
    logits = clean.clone().requires_grad_()
    METRICS[name].objective(logits, answers, clean).sum().backward()
    assert logits.grad is not None
    flat = bool((logits.grad.abs() < 1e-12).all(dim=1).all())
    if METRICS[name].flat_at_clean:
        assert flat
    elif float(clean.abs().max()) < 5:  # where the softmax is not saturated
        assert not flat


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, clean = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    answers = _answers([[0, 1], [2, -1], [5, -1]], [[2, -1], [3, 4], [0, 1]])
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: METRICS[name].objective(x, answers, clean), (logits,))


# -- the Metric value -------------------------------------------------------------------------------------------------


def test_the_objective_is_higher_when_better() -> None:
    answers = _answers([[0]], [[1]])
    better, worse = torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 2.0]])
    for m in METRICS.values():
        assert m.objective(better, answers, better) > m.objective(worse, answers, better)


def test_distances_and_losses_are_reported_as_they_are_read() -> None:
    assert {name for name, m in METRICS.items() if m.sign < 0} == {"kl", "nll"}
    answers = _answers([[0], [0]], [[1], [1]])
    value = metric("nll").value(LOGITS, answers, LOGITS)
    assert (value > 0).all()
    assert torch.equal(metric("nll").objective(LOGITS, answers, LOGITS), -value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", METRICS)
def test_short_floats_are_widened_first(name: str, dtype: torch.dtype) -> None:
    logits, clean = LOGITS.to(dtype), (LOGITS + 1).to(dtype)
    answers = _answers([[0], [2]], [[1], [3]])
    value = METRICS[name].value(logits, answers, clean)
    assert value.dtype == torch.float32
    assert torch.equal(value, METRICS[name].value(logits.float(), answers, clean.float()))


def test_double_stays_double() -> None:
    assert metric("kl").value(LOGITS.double(), _answers([[0], [0]]), LOGITS).dtype == torch.float64


@pytest.mark.parametrize(("given", "name"), [("logit-diff", "logit_diff"), ("prob_diff", "prob_diff"), ("kl", "kl")])
def test_a_metric_is_found_by_name(given: str, name: str) -> None:
    assert metric(given) is METRICS[name]


def test_a_metric_of_ones_own_is_itself() -> None:
    own = Metric("zero", lambda logits, answers, clean: logits[:, 0] * 0)
    assert metric(own) is own


def test_an_unknown_metric_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown metric 'logit_dif'; did you mean 'logit_diff'"):
        metric("logit_dif")


@pytest.mark.parametrize("name", ["logit_diff", "prob_diff"])
def test_a_metric_that_compares_needs_wrong_answers(name: str) -> None:
    message = f"the metric {name} needs wrong answers, and some examples have none"
    with pytest.raises(PairsError, match=message):
        metric(name).value(LOGITS, _answers([[0], [0]], [[1], [-1]]), LOGITS)


@pytest.mark.parametrize(
    ("gives", "got"),
    [
        (lambda logits: logits.mean(), r"torch.float32 \[\]"),
        (lambda logits: logits.mean(dim=-1, keepdim=True), r"torch.float32 \[2, 1\]"),
        (lambda logits: logits, r"torch.float32 \[2, 3\]"),
        (lambda logits: logits.argmax(dim=-1), r"torch.int64 \[2\]"),
        (lambda logits: logits.mean(dim=-1).tolist(), "list"),
        (lambda logits: None, "NoneType"),
    ],
)
def test_a_function_that_gives_no_number_for_each_example_is_told_what_to_give(gives: Any, got: str) -> None:
    """A mean over the batch, an idiom of other libraries, would make scores too small by the size of the batch."""
    own = Metric("own", lambda logits, answers, clean: gives(logits))
    logits, answers = torch.zeros(2, 3), Answers(torch.tensor([[0], [1]]), torch.tensor([[1], [0]]))
    with pytest.raises(
        InvalidValue, match=rf"the metric own gave {got}; it must give one number for each example, float \[2\]"
    ):
        own.value(logits, answers, logits)


def test_a_function_is_a_metric_by_its_name_and_higher_is_better() -> None:
    def first_logit(logits: Tensor, answers: Answers, clean: Tensor) -> Tensor:
        return logits[:, 0]

    found = metric(first_logit)
    assert (found.name, found.sign, found.needs_wrong) == ("first_logit", 1, False)
    on = subject("gpt2")
    scores = ew.attribute(on, pairs(), method="eap", metric=first_logit)
    assert scores.provenance["metric"] == "first_logit"
    assert torch.equal(scores.values, ew.attribute(on, pairs(), method="eap", metric=found).values)
