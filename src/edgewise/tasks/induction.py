"""Induction: "... A B ... A" → " B" in a list of random words."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.tasks.base import Lists, Prompt, Task, at_least, fit_words
from edgewise.tasks.words import NAMES, PLACES, SUBJECTS, THINGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = ("Words: {listed} {repeated}",)

CORRUPTIONS = ("other-first", "other-second")

LENGTH = 10  # distinct words before the repeated one

# Names, places and things on purpose: a model cannot tell from the words alone which task it is in.
WORDS = NAMES + PLACES + THINGS + SUBJECTS


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """Keep the words that are one token."""
    words = fit_words(tokenizer, "Words: and", lists["words"])
    return {"words": at_least(LENGTH + 1, words, what="task 'induction', words")}


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """One prompt whose last word occurred once before, anywhere but at the end; the answer is what followed it."""
    template = rng.choice(TEMPLATES)
    *listed, fresh = rng.sample(lists["words"], LENGTH + 1)
    at = rng.randrange(LENGTH - 1)
    a, b = listed[at], listed[at + 1]
    wrong = rng.choice([word for word in listed[1:] if word not in (a, b)])
    elsewhere = [fresh if word == a else word for word in listed]
    corrupted = {"other-first": (elsewhere, a), "other-second": (listed, fresh)}[corruption]
    return Prompt(
        clean=_text(template, listed, a),
        corrupted=_text(template, *corrupted),
        correct=(f" {b}",),
        wrong=(f" {wrong}",),
        key=(a, b),
    )


def _text(template: str, listed: list[str], repeated: str) -> str:
    return template.format(listed=" ".join(listed), repeated=repeated)


INDUCTION = Task(
    name="induction",
    summary="in a list of random words, … A B … A → B",
    metric="logit_diff",
    corruptions=CORRUPTIONS,
    lists={"words": WORDS},
    fit=fit,
    draw=draw,
)
"""What followed a word once follows it again (Elhage et al. 2021; Olsson et al. 2022, arXiv:2209.11895).

Metric: logit(B) − logit(the successor of another word of the list).
Corruptions, each with the clean prompt's answers:

- `other-first` (default): the earlier A becomes a word that occurs nowhere else, so that nothing says B;
- `other-second`: the last word becomes one that has not occurred.
"""
