"""Induction, hidden: what followed the last letter where it stood before; for the model of that name."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.programs.induction import LETTERS, START
from edgewise.tasks.base import Lists, Prompt, Task, at_least, fit_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CORRUPTIONS = ("other-prompt", "other-first", "other-second")

LISTED = 7  # distinct letters before the repeated one


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """Keep the letters that are one token."""
    letters = fit_words(tokenizer, START, lists["letters"])
    return {"letters": at_least(LISTED + 1, letters, what="task 'induction-hidden', letters")}


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """Seven letters and one of them again, not the last; the answer is what followed it, all other letters are wrong."""
    letters = lists["letters"]
    *listed, fresh = rng.sample(letters, LISTED + 1)
    a, b = _two(rng, listed)
    if corruption == "other-prompt":
        corrupted, c, d = listed, a, b
        while c == a or d == b:
            corrupted = rng.sample(letters, LISTED)
            c, d = _two(rng, corrupted)
    else:
        corrupted, c = {
            "other-first": ([fresh if letter == a else letter for letter in listed], a),
            "other-second": (listed, fresh),
        }[corruption]
    return Prompt(
        clean=_text(listed, a),
        corrupted=_text(corrupted, c),
        correct=(f" {b}",),
        wrong=tuple(f" {letter}" for letter in letters if letter != b),
        key=(a, b),
    )


def _two(rng: random.Random, listed: list[str]) -> tuple[str, str]:
    at = rng.randrange(LISTED - 1)
    return listed[at], listed[at + 1]


def _text(listed: list[str], repeated: str) -> str:
    return " ".join([START, *listed, repeated])


INDUCTION_HIDDEN = Task(
    name="induction-hidden",
    summary="induction on letters, in a compiled model",
    metric="logit_diff",
    corruptions=CORRUPTIONS,
    lists={"letters": LETTERS},
    fit=fit,
    draw=draw,
    model="induction-hidden",
)
"""The compiled model `induction-hidden`; its circuit is known (`programs/induction.py`).

Metric: logit(B) − mean logit of the other letters. Corruptions:

- `other-prompt` (default): another list with another repeated letter and another answer, which corrupts all that depends
  on tokens;
- `other-first`, `other-second`: as in `induction`. The first hides what the queries and values read from `input`, which it
  leaves alone where it matters; the second shows the query alone.
"""
