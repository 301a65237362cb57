"""Reverse: the token that stands at a position after the letters of a prompt are reversed; for the model of that name."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.programs.reverse import BLANK, LENGTH, LETTERS, SYMBOLS, answer
from edgewise.tasks.base import Lists, Prompt, Task, at_least, fit_words, single_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CORRUPTIONS = ("other-prompt", "other-letters")


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """All symbols or none: one token each, at the start of the prompt too, with no others before or after."""
    symbols = (*lists["letters"], BLANK)
    alone = () if tokenizer("")["input_ids"] else single_tokens(tokenizer, "", symbols)
    later = set(fit_words(tokenizer, alone[0], alone)) if alone else set()
    at_least(len(symbols), tuple(symbol for symbol in alone if symbol in later), what="task 'reverse', symbols")
    return lists


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """Two to five letters, then blanks; asked at one of the letters. The wrong answers are all other symbols."""
    clean = _letters(rng, lists["letters"], rng.randint(2, LENGTH))
    asked = rng.randrange(sum(symbol != BLANK for symbol in clean))
    right, corrupted = answer(clean, asked), clean
    while answer(corrupted, asked) == right:
        same = sum(symbol != BLANK for symbol in clean)
        count = same if corruption == "other-letters" else rng.randint(2, LENGTH)
        corrupted = _letters(rng, lists["letters"], count)
    return Prompt(
        clean=" ".join(clean),
        corrupted=" ".join(corrupted),
        correct=(f" {right}",),
        wrong=tuple(f" {symbol}" for symbol in SYMBOLS if symbol != right),
        key=(*clean, str(asked)),
        asked=asked,
    )


def _letters(rng: random.Random, letters: tuple[str, ...], count: int) -> tuple[str, ...]:
    return (*(rng.choice(letters) for _ in range(count)), *[BLANK] * (LENGTH - count))


REVERSE = Task(
    name="reverse",
    summary="the token at a position after the letters are reversed",
    metric="logit_diff",
    corruptions=CORRUPTIONS,
    lists={"letters": LETTERS},
    fit=fit,
    draw=draw,
    model="reverse",
)
"""The compiled model `reverse`, asked at every position; its circuit is known (`programs/reverse.py`).

Metric: logit of the right symbol − mean logit of the others. Corruptions, both with another answer:

- `other-prompt` (default): other letters, and as many as it happens, so that their number is corrupted too;
- `other-letters`: as many letters, which hides the edges that carry their number.
"""
