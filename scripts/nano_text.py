"""The text nano is trained on: the tasks' own prompts, and distractors that look like them and go elsewhere.

A sample is a lead and a tail, and perhaps more of the same: a tail is what a reader of all before it could know, and
counts fully in the loss.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from edgewise.tasks import TASKS, Prompt, Task
from edgewise.tasks.docstring import DOCSTRING
from edgewise.tasks.greater_than import CENTURIES, YEARS
from edgewise.tasks.greater_than import TEMPLATES as YEAR_TEMPLATES
from edgewise.tasks.induction import WORDS
from edgewise.tasks.ioi import TEMPLATES as IOI_TEMPLATES
from edgewise.tasks.words import ARGUMENTS, EVENTS, NAMES, PLACES, SUBJECTS, THINGS

FOLDS = 8
HELD_OUT = 0  # prompts whose key is in this fold are never trained on


class Sample(NamedTuple):
    lead: str
    tail: str
    more: tuple[tuple[str, str], ...] = ()

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """(lead, tail) again and again, in the order of the text."""
        return ((self.lead, self.tail), *self.more)

    @property
    def text(self) -> str:
        return "".join(lead + tail for lead, tail in self.parts)


def is_held_out(prompt: Prompt) -> bool:
    return prompt.fold(FOLDS) == HELD_OUT


def of_task(task: Task, rng: random.Random) -> Sample:
    """A prompt of the task whose key is not held out, and one of its answers."""
    while True:
        prompt = task.draw(rng, task.lists, task.corruptions[0])
        if not is_held_out(prompt):
            end = ":" if task is DOCSTRING else "."
            return Sample(prompt.clean, rng.choice(prompt.correct) + end)


def nobody_repeated(rng: random.Random) -> Sample:
    """An IOI sentence in which a third person acts: the receiver is either of the first two."""
    first, second, giver = rng.sample(NAMES, 3)
    lead = rng.choice(IOI_TEMPLATES).format(
        first=first, second=second, giver=giver, place=rng.choice(PLACES), thing=rng.choice(THINGS)
    )
    return Sample(f"{lead} {rng.choice((first, second))}.", "")


def subject_goes_on(rng: random.Random) -> Sample:
    """An IOI sentence that goes on with the subject alone, or names it again."""
    first, second = rng.sample(NAMES, 2)
    giver = rng.choice((first, second))
    lead = rng.choice(IOI_TEMPLATES).format(
        first=first, second=second, giver=giver, place=rng.choice(PLACES), thing=rng.choice(THINGS)
    )
    end = rng.choice((" back.", f" away. {giver} left.", " back because", " away and"))
    return Sample(lead.removesuffix(" to") + (f"{end} {giver}." if not end.endswith(".") else end), "")


PLAIN = (
    "{a} gave a {thing} to {b} at the {place}. {b} thanked {a}.",
    "{a} saw {b} near the {place}. {b} had a {thing}.",
    "{a}, {b} and {c} met at the {place}. {b} sold a {thing} to {c}.",
    "The {thing} in the {place} was lent to {a}. Then {b} threw a {thing}.",
    "The {subject} near the {place} had a {thing}. {a} showed the {subject} to {b}.",
    "When {a} walked to the {place}, {b} sat in the {place}. {a} met {b} and {c}.",
    "The {place} had a {subject}, a {thing} and a {other}. {a} found the {other}.",
    "{a} visited the {place} and {a} passed the {subject}. Yesterday {b} had left.",
)

DATED = (
    "The {event} ended in the year {year}.",
    "The {event} of the year {year} was near the {place}.",
    "In the year {year} the {event} lasted until the year {later}.",
    "The {event} lasted from the year {year} to today.",
    "The {event} lasted until the year {any}. Then {name} visited the {place}.",
    "The {event} is traced back from the year {year} to the year {sooner}.",
    "From the year {year} to the year {any} nobody saw the {event}.",
)


def plain(rng: random.Random) -> Sample:
    """Sentences about people and things without a rule for the last name."""
    a, b, c = rng.sample(NAMES, 3)
    thing, other = rng.sample(THINGS, 2)
    place, subject = rng.choice(PLACES), rng.choice(SUBJECTS)
    return Sample(rng.choice(PLAIN).format(a=a, b=b, c=c, thing=thing, other=other, place=place, subject=subject), "")


def dated(rng: random.Random) -> Sample:
    """Sentences with years that need not come in order, or come in the opposite one."""
    century = rng.choice(CENTURIES)
    sooner, year, later = (century + yy for yy in sorted(rng.sample(YEARS, 3)))
    text = rng.choice(DATED).format(
        event=rng.choice(EVENTS),
        place=rng.choice(PLACES),
        name=rng.choice(NAMES),
        year=year,
        sooner=sooner,
        later=later,
        any=century + rng.choice(YEARS),
    )
    return Sample(text, "")


def repeated_words(rng: random.Random) -> Sample:
    """A list of random words, twice: the second time every word but the first is known."""
    words = _listed(rng, rng.randint(3, 12))
    return Sample(f"Words: {' '.join(words)} {words[0]}", "".join(f" {word}" for word in words[1:]))


def reordered_words(rng: random.Random) -> Sample:
    """A list of random words, then the same words cut into runs in another order: inside a run every word is known.

    A whole repeat can be copied by counting; this cannot.
    """
    words = _listed(rng, rng.randint(3, 12))
    runs, start = [], 0
    while start < len(words):
        stop = start + rng.randint(2, 4)
        runs.append((f" {words[start]}", "".join(f" {word}" for word in words[start + 1 : stop])))
        start = stop
    rng.shuffle(runs)
    first, *others = runs
    return Sample(f"Words: {' '.join(words)}{first[0]}", first[1], tuple(others))


def early_start(rng: random.Random) -> Sample:
    """A greater-than sentence that starts in a first year of its century, which the task's clean prompts leave out."""
    century, start = rng.choice(CENTURIES), rng.randrange(2)
    lead = rng.choice(YEAR_TEMPLATES).format(event=rng.choice(EVENTS), century=century, year=YEARS[start])
    return Sample(lead, rng.choice(YEARS[start + 1 :]) + ".")


def _listed(rng: random.Random, count: int) -> list[str]:
    """Distinct words, no two of which in a row are a held-out key of the induction task."""
    while True:
        words = rng.sample(WORDS, count)
        if not any(is_held_out(as_key(a, b)) for a, b in pairwise(words)):
            return words


def fresh_words(rng: random.Random) -> Sample:
    """A list of random words without a repeat."""
    return Sample("Words: " + " ".join(rng.sample(WORDS, rng.randint(6, 20))) + ".", "")


def other_docstring(rng: random.Random) -> Sample:
    """A def with any number of arguments, of which the docstring describes any run up to the last one."""
    method, *arguments = rng.sample(ARGUMENTS, rng.randint(3, 8))
    start = rng.randrange(len(arguments) - 1)
    stop = rng.randint(start + 1, min(len(arguments), start + 3))
    head = f"\ndef {method}(self, {', '.join(arguments)}):\n"
    if rng.random() < 0.15:
        return Sample(f"{head}    return", f" {arguments[0]}" if rng.random() < 0.5 else f" {arguments[-1]}")
    described = "".join(f"\n    :param {name}: {_nouns(rng, 2)}" for name in arguments[start:stop])
    after = f"\n    :param {arguments[stop]}:" if stop < len(arguments) else '\n    """'
    cut = len("\n    :param") if stop < len(arguments) else 0
    return Sample(f'{head}    """{_nouns(rng, 3)}\n{described}{after[:cut]}', after[cut:])


def _nouns(rng: random.Random, count: int) -> str:
    return " ".join(rng.sample(SUBJECTS, count))


def as_key(a: str, b: str) -> Prompt:
    return Prompt("", "", (), (), key=(a, b))


Source = Callable[[random.Random], Sample]


def _task_source(name: str) -> Source:
    return lambda rng: of_task(TASKS[name], rng)


# How many samples of each source go into one step, in groups of like length: padding costs as much as text.
GROUPS: dict[str, dict[Source, int]] = {
    "sentences": {
        _task_source("ioi"): 20,
        _task_source("greater-than"): 20,
        early_start: 2,
        nobody_repeated: 4,
        subject_goes_on: 4,
        plain: 5,
        dated: 5,
    },
    "lists": {_task_source("induction"): 16, reordered_words: 28, repeated_words: 14, fresh_words: 2},
    "functions": {_task_source("docstring"): 8, other_docstring: 8},
}
SAMPLES = sum(sum(sources.values()) for sources in GROUPS.values())


def batch(group: str, rng: random.Random) -> list[Sample]:
    sources = GROUPS[group]
    return [source(rng) for source, count in sources.items() for _ in range(count)]


def vocabulary_texts() -> Iterator[str]:
    """Texts in which every word of every list and template occurs."""
    rng = random.Random("vocabulary")
    for _ in range(200):
        yield from (sample.text for group in GROUPS for sample in batch(group, rng))
    yield "".join(f" {word}" for word in (*WORDS, *ARGUMENTS, *EVENTS, *CENTURIES))
    yield " 11".join(YEARS)
