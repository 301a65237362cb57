"""Docstring: having documented the first arguments of a function, ":param" is followed by the next one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from edgewise.tasks.base import Lists, Prompt, Task, at_least, fit_words
from edgewise.tasks.words import ARGUMENTS, SUBJECTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = (
    '\ndef {method}(self, {before}, {listed}, {after}):\n    """{summary}\n\n'
    "    :param {one}: {about_one}\n    :param {two}: {about_two}\n    :param",
)

CORRUPTIONS = ("random-args", "random-def", "random-doc")

SLOTS = 11  # arguments per prompt: 3 documented ones, 2 before, 1 after, 3 for a corrupted def, 2 for a corrupted doc


def fit(lists: Lists, tokenizer: PreTrainedTokenizerBase) -> Lists:
    """Keep the argument names that are one token after the comma of a def."""
    arguments = fit_words(tokenizer, "\ndef run(self,", lists["arguments"])
    return {**lists, "arguments": at_least(SLOTS + 1, arguments, what="task 'docstring', argument names")}


def draw(rng: random.Random, lists: Lists, corruption: str) -> Prompt:
    """One prompt with three matching arguments, two of which the docstring has described."""
    template = rng.choice(TEMPLATES)
    method, *arguments = rng.sample(lists["arguments"], SLOTS + 1)
    matching, other_def, other_doc = arguments[:3], arguments[3:6], arguments[6:8]
    nouns = rng.sample(lists["nouns"], 7)

    def text(listed: list[str], documented: list[str]) -> str:
        return template.format(
            method=method,
            before=", ".join(arguments[8:10]),
            listed=", ".join(listed),
            after=arguments[10],
            summary=" ".join(nouns[:3]),
            one=documented[0],
            about_one=" ".join(nouns[3:5]),
            two=documented[1],
            about_two=" ".join(nouns[5:7]),
        )

    return Prompt(
        clean=text(matching, matching),
        corrupted=text(
            matching if corruption == "random-doc" else other_def, matching if corruption == "random-def" else other_doc
        ),
        correct=(f" {matching[2]}",),
        wrong=tuple(f" {argument}" for argument in arguments if argument != matching[2]),
        key=(matching[1], matching[2]),
    )


DOCSTRING = Task(
    name="docstring",
    summary="after the documented arguments of a function, :param → the next one",
    metric="logit_diff",
    corruptions=CORRUPTIONS,
    lists={"arguments": ARGUMENTS, "nouns": SUBJECTS},
    fit=fit,
    draw=draw,
)
"""A docstring documents the arguments in the order of the def (Heimersheim & Janiak 2023, "A circuit for Python
docstrings in a 4-layer attention-only transformer", and the docstring task of ACDC, arXiv:2304.14997).

Metric: logit of the third matching argument against all other arguments of the draw, in the prompt or not.
Corruptions, each with the clean prompt's answers:

- `random-args` (default, published): the matching arguments of the def and those of the docstring become random ones;
- `random-def`: only those of the def; `random-doc`: only those of the docstring.
"""
