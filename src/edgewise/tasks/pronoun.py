"""Gendered pronoun: "So Mary is a very good friend, isn't" → " she"."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.tasks.base import Lists, Prompt, Task, at_least, fit_words
from edgewise.tasks.words import MEN, PEOPLE, WOMEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = (
    "So {name} is a very good {person}, isn't",
    "Well, {name} works hard as a {person}, doesn't",
    "I think that {name} will be a great {person} one day, won't",
    "When {name} was still a young {person},",
    "My {person} {name} stayed at home today because",
    "Everyone says that {name} is a good {person}, but I think",
)

PRONOUNS = {"women": " she", "men": " he"}

CORRUPTIONS = ("other-gender",)


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """Keep the names that are one token, and ask that the pronouns are; people may be longer, both twins share them."""
    pronouns = fit_words(tokenizer, "So", [pronoun.strip() for pronoun in PRONOUNS.values()])
    at_least(len(PRONOUNS), pronouns, what="task 'gendered-pronoun', pronouns")
    names = {side: fit_words(tokenizer, "So", lists[side]) for side in PRONOUNS}
    return {**lists, **{side: at_least(4, names[side], what=f"task 'gendered-pronoun', {side}") for side in PRONOUNS}}


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """One name, and one of the other gender."""
    template, person = rng.choice(TEMPLATES), rng.choice(lists["people"])
    side, other = rng.sample(sorted(PRONOUNS), 2)
    name, stranger = rng.choice(lists[side]), rng.choice(lists[other])
    return Prompt(
        clean=template.format(name=name, person=person),
        corrupted=template.format(name=stranger, person=person),
        correct=(PRONOUNS[side],),
        wrong=(PRONOUNS[other],),
        key=(name,),
    )


GENDERED_PRONOUN = Task(
    name="gendered-pronoun",
    summary="So Mary is a very good friend, isn't → she",
    metric="logit_diff",
    corruptions=CORRUPTIONS,
    lists={"women": WOMEN, "men": MEN, "people": PEOPLE},
    fit=fit,
    draw=draw,
    model="smollm2",
)
"""Whom a pronoun stands for is told by a first name alone (Mathwin et al. 2023, Identifying a preliminary circuit for
predicting gendered pronouns in GPT-2 small).

Half of the names are women's. Metric: logit of the pronoun of the name − logit of the other. Corruption, with the clean
prompt's answers:

- `other-gender` (default): a name of the other gender.
"""
