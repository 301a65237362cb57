"""Subject-verb agreement: "I know that the author beside the windows" → " is" over " are"."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.tasks.base import Lists, Prompt, Task, at_least, fit_words
from edgewise.tasks.words import NOUNS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Behind "that" and its like: at the start of a text the nearer noun often wins.
TEMPLATES = (
    "She told me that the {head} next to the {other}",
    "I know that the {head} beside the {other}",
    "Everyone can see that the {head} above the {other}",
    "It turned out that the {head} across from the {other}",
    "He could not see whether the {head} behind the {other}",
    "They asked if the {head} in front of the {other}",
    "People say that the {head} standing next to the {other}",
    "In the story, the {head} beside the {other}",
)

AUXILIARIES = (("is", "are"), ("was", "were"), ("has", "have"))

CORRUPTIONS = ("other-number", "both-numbers")


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """Keep the nouns of which the singular and the plural are one token; and ask that the verbs are."""
    plural = set(fit_words(tokenizer, "The", [f"{noun}s" for noun in lists["nouns"]]))
    nouns = tuple(noun for noun in fit_words(tokenizer, "The", lists["nouns"]) if f"{noun}s" in plural)
    verbs = [verb for pair in AUXILIARIES for verb in pair]
    at_least(len(verbs), fit_words(tokenizer, "The", verbs), what="task 'subject-verb-agreement', verbs")
    return {"nouns": at_least(4, nouns, what="task 'subject-verb-agreement', nouns with their plural")}


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """One subject, after which a noun of the other number stands nearer to the verb."""
    template, auxiliary = rng.choice(TEMPLATES), rng.choice(AUXILIARIES)
    head, other = rng.sample(lists["nouns"], 2)
    number = rng.randrange(2)

    def text(head_number: int, other_number: int) -> str:
        return template.format(head=head + "s" * head_number, other=other + "s" * other_number)

    corrupted = {"other-number": (1 - number, 1 - number), "both-numbers": (1 - number, number)}[corruption]
    return Prompt(
        clean=text(number, 1 - number),
        corrupted=text(*corrupted),
        correct=(f" {auxiliary[number]}",),
        wrong=(f" {auxiliary[1 - number]}",),
        key=(head, other),
    )


SUBJECT_VERB_AGREEMENT = Task(
    name="subject-verb-agreement",
    summary="I know that the author beside the windows → is, not are",
    metric="logit_diff",
    corruptions=CORRUPTIONS,
    lists={"nouns": NOUNS},
    fit=fit,
    draw=draw,
    model="smollm2",
)
"""The verb agrees with the head of its subject, not with the noun beside it (Linzen et al. 2016, arXiv:1611.01368).

Half of the subjects are singular. Metric: logit of the verb in the subject's number − logit of the same verb in the
other number. Corruptions, each with the clean prompt's answers:

- `other-number` (default): the head of the subject has the other number, and nothing else changes;
- `both-numbers`: so has the noun beside it, which again differs from the head.
"""
