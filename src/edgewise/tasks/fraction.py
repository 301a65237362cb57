"""Fraction: the share of a prompt's tokens that are x; for the model of that name."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.programs.fraction import FRACTIONS, LENGTH, LETTERS, MARKED, answer
from edgewise.tasks.base import Lists, Prompt, Task, at_least, fit_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CORRUPTIONS = ("other-prompt",)


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """All letters and fractions or none."""
    words = (*lists["letters"], *map(str, FRACTIONS))
    at_least(len(words), fit_words(tokenizer, MARKED, words), what="task 'fraction', letters and fractions")
    return lists


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """Two to five letters, about half of them x; the wrong answer is that of the corrupted prompt."""
    clean = _letters(rng, lists["letters"], rng.randint(2, LENGTH))
    corrupted = clean
    while answer(corrupted) == answer(clean):
        corrupted = _letters(rng, lists["letters"], len(clean))
    return Prompt(
        clean=" ".join(clean),
        corrupted=" ".join(corrupted),
        correct=(f" {answer(clean)}",),
        wrong=(f" {answer(corrupted)}",),
        key=clean,
    )


def _letters(rng: random.Random, letters: tuple[str, ...], count: int) -> tuple[str, ...]:
    return tuple(MARKED if rng.random() < 0.5 else rng.choice(letters) for _ in range(count))


FRACTION = Task(
    name="fraction",
    summary="the share of the tokens that are x",
    metric="logit_diff",
    corruptions=CORRUPTIONS,
    lists={"letters": LETTERS},
    fit=fit,
    draw=draw,
    model="fraction",
)
"""The compiled model `fraction`, asked at the last token; its circuit is known (`programs/fraction.py`).

Metric: logit(the share of x) − logit(that of the corrupted prompt). The corrupted prompt, `other-prompt`, is as long and has
another share of x.
"""
