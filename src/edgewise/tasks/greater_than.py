"""Greater-than: "The war lasted from the year 1732 to the year 17" → any of "33" ... "99"."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.errors import TaskError
from edgewise.tasks.base import Lists, Prompt, Task, single_tokens
from edgewise.tasks.words import EVENTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = ("The {event} lasted from the year {century}{year} to the year {century}",)

CORRUPTIONS = ("year-01", "random-year")

CENTURIES = tuple(str(century) for century in range(11, 18))
YEARS = tuple(f"{year:02d}" for year in range(100))
LOWEST_YEAR = "01"  # what `year-01` writes; a clean prompt starts later, so that it has a wrong answer too
ENOUGH = 90  # two-digit tokens a century needs: with fewer, the two sums say little about "greater than"


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """Keep, century by century, the years that split as [" 17", "32"]; drop centuries with too few."""
    years = {century: single_tokens(tokenizer, f"the year {century}", lists[century]) for century in CENTURIES}
    kept = {c: two for c, two in years.items() if len(two) >= ENOUGH and LOWEST_YEAR in two and _is_one(tokenizer, c)}
    if not kept:
        raise TaskError(
            f"task 'greater-than': no century from {CENTURIES[0]} to {CENTURIES[-1]} has {ENOUGH} years that this"
            ' tokenizer splits into two pairs of digits (" 17", "32"); use a model such as GPT-2, or your own pairs'
        )
    return {"events": lists["events"], "centuries": tuple(kept), **kept}


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """One prompt whose start year leaves later and earlier two-digit endings."""
    template, event = rng.choice(TEMPLATES), rng.choice(lists["events"])
    century = rng.choice(lists.get("centuries", CENTURIES))
    years = lists[century]
    year, other = rng.sample([y for y in years if LOWEST_YEAR < y < max(years)], 2)
    corrupted_year = {"year-01": LOWEST_YEAR, "random-year": other}[corruption]
    return Prompt(
        clean=template.format(event=event, century=century, year=year),
        corrupted=template.format(event=event, century=century, year=corrupted_year),
        correct=tuple(y for y in years if y > year),
        wrong=tuple(y for y in years if y <= year),
        key=(century, year),
    )


def _is_one(tokenizer: PreTrainedTokenizerBase, century: str) -> bool:
    return len(single_tokens(tokenizer, "the year", [f" {century}"])) == 1


GREATER_THAN = Task(
    name="greater-than",
    summary="The war lasted from the year 1732 to the year 17 → 33 to 99",
    metric="prob_diff",
    corruptions=CORRUPTIONS,
    lists={"events": EVENTS, **dict.fromkeys(CENTURIES, YEARS)},
    fit=fit,
    draw=draw,
)
"""An event cannot end before it began (Hanna, Liu, Variengien 2023, arXiv:2305.00586).

Metric: probability of the two-digit endings above the start year minus that of the others. The endings are those that
are one token after the century with the tokenizer at hand (for GPT-2 all but a few such as "00" after " 17").
Corruptions, each with the clean prompt's answers:

- `year-01` (default, published): the event starts in the year 01 of its century;
- `random-year`: it starts in another year of its century.
"""
