"""Capitals: "The capital of France is the city of" → " Paris"."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.tasks.base import Lists, Prompt, Task, at_least, fit_words
from edgewise.tasks.words import CAPITAL_OF

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = (
    "The capital of {country} is the city of",
    "The capital city of {country} is called",
    "The government of {country} sits in the capital city of",
    "If you travel to {country}, you should see its capital,",
    "Everyone in {country} knows the capital,",
    "Question: what is the capital of {country}? Answer: The capital is",
    "She moved to {country} and found a flat in the capital,",
    "In {country}, parliament meets in the capital,",
)

CORRUPTIONS = ("other-country",)

ENOUGH = 8  # countries: with fewer, the answer can be guessed


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """Keep the countries that are one token and whose capital is."""
    countries = set(fit_words(tokenizer, "The capital of", lists["countries"]))
    capitals = set(fit_words(tokenizer, "the city of", lists["capitals"]))
    both = zip(lists["countries"], lists["capitals"], strict=True)
    kept = [(country, capital) for country, capital in both if country in countries and capital in capitals]
    at_least(ENOUGH, tuple(country for country, _ in kept), what="task 'capitals', countries and their capitals")
    return {"countries": tuple(country for country, _ in kept), "capitals": tuple(capital for _, capital in kept)}


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """One country, and another whose capital is the wrong answer."""
    template = rng.choice(TEMPLATES)
    (country, capital), (other, wrong) = rng.sample(list(zip(lists["countries"], lists["capitals"], strict=True)), 2)
    return Prompt(
        clean=template.format(country=country),
        corrupted=template.format(country=other),
        correct=(f" {capital}",),
        wrong=(f" {wrong}",),
        key=(country,),
    )


CAPITALS = Task(
    name="capitals",
    summary="The capital of France is the city of → Paris",
    metric="logit_diff",
    corruptions=CORRUPTIONS,
    lists={"countries": tuple(CAPITAL_OF), "capitals": tuple(CAPITAL_OF.values())},
    fit=fit,
    draw=draw,
    model="smollm2",
)
"""A country is named and its capital is asked: a fact that the model has learned (as in Meng et al. 2022, arXiv:2202.05262).

Metric: logit of the country's capital − logit of another country's. Corruption, with the clean prompt's answers:

- `other-country` (default): the country whose capital is the wrong answer.
"""
