"""Tokenizers of all habits: prompts are read as one would by hand, or refused; what is seldom meant is noticed by name."""

from __future__ import annotations

import json
import operator
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.families import pairs, subject
from support.prompt_strategies import HABITS, Habits, answers, prompts, ragged_rows, tokenizer_with

import edgewise as ew
from edgewise.errors import EdgewiseWarning, PairsError
from edgewise.evaluation.plausible import chance
from edgewise.pairs import Pairs
from edgewise.prompts.habits import is_glued

# -- the slow, obvious twin -------------------------------------------------------------------------------------------


class Refused(Exception):
    """What cannot be asked."""


def by_hand(habits: Habits, text: str) -> list[int]:
    """The tokens of a text: what the tokenizer gives, without the end it adds, and without a second begin token."""
    row = list(tokenizer_with(habits)(text)["input_ids"])
    row = row[:-1] if habits.ends else row
    begin = tokenizer_with(habits).bos_token_id
    return row[1:] if habits.begins and row[:2] == [begin, begin] else row


def begun(habits: Habits, text: str) -> bool:
    """Whether the tokenizer puts a begin token before one that is there."""
    return habits.begins and [tokenizer_with(habits).bos_token_id] * 2 == tokenizer_with(habits)(text)["input_ids"][:2]


def answer_by_hand(habits: Habits, prompt: str, answer: Any) -> int:
    tokenizer = tokenizer_with(habits)
    if not isinstance(answer, str):
        token = operator.index(answer)
        if not 0 <= token < len(tokenizer):
            raise Refused
        return token
    before, after = by_hand(habits, prompt), by_hand(habits, prompt + answer)
    if after[:-1] != before or after[-1:] == [tokenizer.unk_token_id]:
        raise Refused
    return after[-1]


def each(given: Any) -> list[Any]:
    return list(given) if hasattr(given, "__len__") and not isinstance(given, str) else [given]


def read_by_hand(habits: Habits, clean: str, corrupted: str, right: Any, wrong: Any) -> tuple[Any, ...]:
    rows = by_hand(habits, clean), by_hand(habits, corrupted)
    unknown = tokenizer_with(habits).unk_token_id
    if not rows[0] or len(rows[0]) != len(rows[1]) or unknown in (*rows[0], *rows[1]):
        raise Refused
    sides = [{answer_by_hand(habits, clean, answer) for answer in each(side)} for side in (right, wrong)]
    if not sides[0] or sides[0] & sides[1]:
        raise Refused
    return (*rows, *sides)


def shown(found: Pairs) -> tuple[Any, ...]:
    end = int(found.positions[0]) + 1
    rows = found.clean[0, :end].tolist(), found.corrupted[0, :end].tolist()
    return (*rows, *({token for token in side[0].tolist() if token != -1} for side in (found.correct, found.wrong)))


@given(st.sampled_from(HABITS), prompts(), prompts(), answers(), answers())
def test_prompts_are_read_as_by_hand_or_refused(habits: Habits, a: str, b: str, right: Any, wrong: Any) -> None:
    try:
        expected = read_by_hand(habits, a, b, right, wrong)
    except Refused:
        with pytest.raises(PairsError):
            Pairs.from_prompts(tokenizer_with(habits), [a], [b], [right], [wrong])
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = Pairs.from_prompts(tokenizer_with(habits), [a], [b], [right], [wrong])
    assert shown(found) == expected
    noticed = found.source.get("warnings", [])
    assert [str(one.message) for one in said] == noticed
    glued = any(is_glued(a, answer) for answer in (*each(right), *each(wrong)))
    for words, expected_there in (
        ("glued to their prompts", glued),
        ("end in a space", a.endswith(" ") or b.endswith(" ")),
        ("ends every text with '</s>'", habits.ends),
        ("begin with '<s>' themselves", begun(habits, a) or begun(habits, b)),
    ):
        assert any(words in one for one in noticed) == expected_there, (words, noticed)


@given(st.sampled_from(HABITS), st.lists(st.tuples(prompts(), prompts(), answers()), min_size=1, max_size=4))
def test_many_pairs_are_read_as_each_alone(habits: Habits, rows: list[tuple[str, str, Any]]) -> None:
    """What was read before is remembered, and must be what would be read afresh."""
    tokenizer = tokenizer_with(habits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgewiseWarning)
        try:
            alone = [Pairs.from_prompts(tokenizer, [a], [b], [right]) for a, b, right in rows]
        except PairsError:
            with pytest.raises(PairsError):
                Pairs.from_prompts(tokenizer, *zip(*rows, strict=True))
            return
        together = Pairs.from_prompts(tokenizer, *zip(*rows, strict=True))
    assert [shown(together[i]) for i in range(len(rows))] == [shown(one) for one in alone]


@given(ragged_rows(), st.integers(0, 8), st.sampled_from(["left", "right"]))
def test_padding_of_any_token_on_either_side_is_left_out(
    rows: tuple[list[list[int]], list[list[int]]], pad: int, side: str
) -> None:
    """Also a token that stands in the prompts: the mask says which is which."""
    width = max(map(len, rows[0]))

    def filled(of: list[list[int]], token: int) -> list[list[int]]:
        fill = [[token] * (width - len(row)) for row in of]
        return [[*f, *row] if side == "left" else [*row, *f] for row, f in zip(of, fill, strict=True)]

    mask = filled([[1] * len(row) for row in rows[0]], 0)
    correct = [9] * len(rows[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgewiseWarning)
        plain = Pairs.from_tokens(*rows, correct=correct)
        found = Pairs.from_tokens(*(filled(of, pad) for of in rows), correct=correct, attention_mask=mask)
    assert found.fingerprint == plain.fingerprint


# -- what is noticed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "answer", "glued"),
    [
        ("The dog", "is", True),
        ("Собака", "есть", True),
        ("The dog", " is", False),
        ("The dog ", "is", False),
        ("17", "45", False),
        ("the year 17", "th", False),
        ("x(", "y", False),
        ("東京", "都", False),
        ("The dog", 7, False),
        ("", "is", False),
    ],
)
def test_an_answer_is_glued_where_it_goes_on_in_the_midst_of_a_word(prompt: str, answer: Any, glued: bool) -> None:
    assert is_glued(prompt, answer) == glued


BYTES = tokenizer_with(Habits("bytes", begins=False, ends=False))


def test_what_is_noticed_is_said_with_what_to_change_and_goes_with_the_pairs() -> None:
    with pytest.warns(EdgewiseWarning) as said:
        found = Pairs.from_prompts(BYTES, ["The dog", "Mary "], ["The ball", "John "], ["s", "J"], ["J", "s"])
    first, second = (str(one.message) for one in said)
    assert first == (
        "2 of 4 prompts end in a space, such as 'Mary '; end them before it, and begin the answers with it"
    )
    assert second.startswith(
        "2 answers are glued to their prompts, such as 's' to 'dog' in 'dogs'; begin them with a space"
    )
    assert found[1:].source["warnings"] == found.to(torch.device("cpu")).source["warnings"] == [first, second]
    scores = ew.attribute(subject("gpt2"), replace(pairs(), source=found.source), method="eap")
    assert scores.provenance["warnings"] == [first, second]


def test_an_answer_after_a_space_is_refused_with_its_cause() -> None:
    with pytest.raises(
        PairsError, match=r"is not one token after its prompt: .*; the prompt ends in a space: end it before"
    ):
        Pairs.from_prompts(BYTES, ["The "], ["Mary "], ["Mary"])


# -- models that do not do what is asked ------------------------------------------------------------------------------


def test_a_report_says_where_the_model_does_no_better_than_chance() -> None:
    on, of = subject("gpt2"), pairs()
    at = on.logits(of.clean, of.positions)
    best, worst = at.argmax(dim=1, keepdim=True), at.argmin(dim=1, keepdim=True)
    full = ew.Circuit.full(on.graph)

    def told(correct: torch.Tensor, wrong: torch.Tensor) -> tuple[str, ...]:
        asked = replace(of, correct=correct, wrong=wrong)
        return ew.evaluate(on, full, asked, metrics=["accuracy", "kl"], random=None).warnings

    assert told(best, worst) == ()
    (sentence,) = told(worst, best)
    assert sentence.startswith(
        "the model gives a right answer in none of the clean prompts, and a guess in 50%: look at"
    )
    (sentence,) = told(worst, torch.full_like(best, -1))
    assert sentence.startswith(
        "the model gives a right answer in none of the clean prompts: look at the answers, above all"
    )


def test_a_report_says_where_clean_prompts_do_no_better_than_corrupted_ones() -> None:
    on, of = subject("gpt2"), pairs()
    full, turned = ew.Circuit.full(on.graph), replace(of, clean=of.corrupted, corrupted=of.clean)
    for metric in ("logit_diff", "nll"):
        reports = [ew.evaluate(on, full, one, metrics=[metric, "kl"], random=None) for one in (of, turned)]
        assert [len(report.warnings) for report in reports].count(1) == 1
        worse = max(reports, key=lambda report: len(report.warnings))
        assert worse.warnings[0].startswith(
            f"{metric} is {worse[metric].clean:.3g} on the clean prompts, no better than"
        )
        assert f"warning: {worse.warnings[0]}" in str(worse)
        assert json.loads(json.dumps(worse.to_dict()))["warnings"] == list(worse.warnings)


def test_chance_is_the_share_of_right_answers_among_all() -> None:
    ids = torch.tensor([[1, 2], [3, 4]])
    of = Pairs.from_tokens(ids, ids, correct=[[5], [6, 7]], wrong=[[8, 9, 10], [11]])
    assert chance(of) == pytest.approx((1 / 4 + 2 / 3) / 2)
    assert chance(Pairs.from_tokens(ids, ids, correct=[5, 6], wrong=[[7], [-1]])) == 0
