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
DIGITS = tuple("0123456789")
LOWEST_YEAR = "01"  # what `year-01` writes; a clean prompt starts later, so that it has a wrong answer too
ENOUGH = 90  # two-digit tokens a century needs: with fewer, the two sums say little about "greater than"


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """Keep, century by century, the years that split as [" 17", "32"]; drop centuries with too few.

    Where there are none, since every digit is a token of its own, the first digit of the year is asked for.
    """
    years = {century: single_tokens(tokenizer, f"the year {century}", lists[century]) for century in CENTURIES}
    kept = {c: two for c, two in years.items() if len(two) >= ENOUGH and LOWEST_YEAR in two and _is_one(tokenizer, c)}
    if kept:
        return {"events": lists["events"], "centuries": tuple(kept), **kept}
    if all(single_tokens(tokenizer, f"the year {begun}", DIGITS) == DIGITS for begun in ("17", "173")):
        return {**lists, "digits": DIGITS}
    raise TaskError(
        f"task 'greater-than': no century from {CENTURIES[0]} to {CENTURIES[-1]} has {ENOUGH} years that this"
        ' tokenizer splits into two pairs of digits (" 17", "32"), nor does it split them into digits; use a model such as'
        " GPT-2, or your own pairs"
    )


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """One prompt whose start year leaves later and earlier two-digit endings, or first digits of them."""
    template, event = rng.choice(TEMPLATES), rng.choice(lists["events"])
    century = rng.choice(lists.get("centuries", CENTURIES))
    years = lists[century]
    year, other = rng.sample([y for y in years if _leaves_both(y, years, by_digit="digits" in lists)], 2)
    corrupted_year = {"year-01": LOWEST_YEAR, "random-year": other}[corruption]
    answers = lists.get("digits", years)
    start = year[: len(answers[0])]
    return Prompt(
        clean=template.format(event=event, century=century, year=year),
        corrupted=template.format(event=event, century=century, year=corrupted_year),
        correct=tuple(ending for ending in answers if ending > start),
        # A year may end in the decade it began in, earlier or later: its first digit is neither right nor wrong.
        wrong=tuple(ending for ending in answers if (ending < start if "digits" in lists else ending <= start)),
        key=(century, year),
    )


def _leaves_both(year: str, years: tuple[str, ...], *, by_digit: bool) -> bool:
    """Whether there are endings after this year and before it."""
    return DIGITS[0] < year[0] < DIGITS[-1] if by_digit else LOWEST_YEAR < year < max(years)


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
are one token after the century with the tokenizer at hand (for GPT-2 all but a few such as "00" after " 17"). With a
tokenizer that makes a token of every digit (SmolLM2's) the first digit of the ending is asked for: those above the start
year's are right, those below it wrong.
Corruptions, each with the clean prompt's answers:

- `year-01` (default, published): the event starts in the year 01 of its century;
- `random-year`: it starts in another year of its century.
"""
