"""Indirect object identification: "When Mary and John went to the park, John gave a book to" → " Mary"."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.tasks.base import Lists, Prompt, Task, at_least, fit_words
from edgewise.tasks.words import NAMES, PLACES, THINGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = (
    "When {first} and {second} walked to the {place}, {giver} gave a {thing} to",
    "Then {first} and {second} met at the {place}. {giver} handed a {thing} to",
    "After {first} and {second} had left the {place}, {giver} passed a {thing} to",
    "While {first} and {second} were waiting near the {place}, {giver} offered a {thing} to",
    "Yesterday {first} and {second} visited the {place} and {giver} sold a {thing} to",
    "The friends {first} and {second} sat in the {place}. Later {giver} lent a {thing} to",
    "Once {first} and {second} had found the {place}, {giver} threw a {thing} to",
    "At the {place} there were {first} and {second}. {giver} showed a {thing} to",
)

CORRUPTIONS = ("abc", "random-names", "s2-io-flip", "s2-random")


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """Keep the names that are one token; places and things may be longer, both twins share them."""
    names = fit_words(tokenizer, "When", lists["names"])
    return {**lists, "names": at_least(5, names, what="task 'ioi', names")}


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """One prompt in which the giver (S) was named before and the other name (IO) is the answer, in either order."""
    template, place, thing = rng.choice(TEMPLATES), rng.choice(lists["places"]), rng.choice(lists["things"])
    io, s = rng.sample(lists["names"], 2)
    subject_last = rng.random() < 0.5

    def text(io: str, s1: str, s2: str) -> str:
        first, second = (io, s1) if subject_last else (s1, io)
        return template.format(first=first, second=second, giver=s2, place=place, thing=thing)

    fresh = rng.sample([name for name in lists["names"] if name not in (io, s)], 3)
    return Prompt(
        clean=text(io, s, s),
        corrupted=text(*_corrupted_names(corruption, io, s, fresh)),
        correct=(f" {io}",),
        wrong=(f" {s}",),
        key=tuple(sorted((io, s))),
    )


def _corrupted_names(corruption: str, io: str, s: str, fresh: list[str]) -> tuple[str, str, str]:
    a, b, c = fresh
    choices = {"abc": (a, b, c), "random-names": (a, b, b), "s2-io-flip": (io, s, io), "s2-random": (io, s, c)}
    return choices[corruption]


IOI = Task(
    name="ioi",
    summary="When Mary and John went to the park, John gave a book to → Mary",
    metric="logit_diff",
    corruptions=CORRUPTIONS,
    lists={"names": NAMES, "places": PLACES, "things": THINGS},
    fit=fit,
    draw=draw,
)
"""Two people are named, one of them acts, and the object goes to the other (Wang et al. 2022, arXiv:2211.00593).

Half of the prompts name the indirect object first (ABBA), half second (BABA). Metric: logit(IO) − logit(S).
Corruptions, each with the clean prompt's answers:

- `abc` (default, published): three fresh, distinct names, so that nobody is repeated;
- `random-names`: two fresh names in the same order: who acts is kept, which names they are is lost;
- `s2-io-flip`: the second S becomes the IO, so that the other name is the answer (MIB);
- `s2-random`: the second S becomes a fresh name; the first two stay.
"""
