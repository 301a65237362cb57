"""Habits of prompts, answers and tokenizers that seldom mean what is asked for: each is noticed by name, with what to change.

What is noticed is warned of when the pairs are made, and goes with them: into provenance, reports and pages.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from edgewise.errors import EdgewiseWarning

# What pairs, provenance and reports call the sentences about what was noticed.
WARNINGS = "warnings"


def of_texts(clean: Sequence[str], corrupted: Sequence[str], answers: Sequence[Sequence[Any]]) -> list[str]:
    """What is noticed about texts; `answers`: those of each pair, right and wrong."""
    found: list[str] = []
    spaced = [text for text in (*clean, *corrupted) if text.endswith(" ")]
    if spaced:
        found.append(
            f"{len(spaced):,} of {len(clean) + len(corrupted):,} prompts end in a space, such as {spaced[0][-30:]!r}; "
            "end them before it, and begin the answers with it"
        )
    glued = [(text, a) for text, of in zip(clean, answers, strict=True) for a in of if is_glued(text, a)]
    if glued:
        text, answer = glued[0]
        word = text.split()[-1]
        found.append(
            f"{len(glued):,} answers are glued to their prompts, such as {answer!r} to {word[-30:]!r} in "
            f"{(word + answer)[-40:]!r}; begin them with a space, {' ' + answer!r}, unless parts of words are asked for"
        )
    return found


def is_glued(prompt: str, answer: Any) -> bool:
    """Whether an answer goes on in the midst of the prompt's last word, in a script that puts spaces between words."""
    return isinstance(answer, str) and _in_a_word(prompt[-1:]) and _in_a_word(answer[:1])


def _in_a_word(character: str) -> bool:
    # Scripts with two cases separate words by spaces; in many others nothing is wrong.
    return character.isalpha() and character.lower() != character.upper()


def warn_of(sentences: Iterable[str]) -> None:
    """Warn of each, once where the same was said before."""
    for sentence in sentences:
        warnings.warn(sentence, EdgewiseWarning, stacklevel=5)


def with_warnings(source: dict[str, Any], sentences: Iterable[str]) -> dict[str, Any]:
    """The origin of pairs with what was noticed about them; each sentence once."""
    said = list(dict.fromkeys([*source.get(WARNINGS, ()), *sentences]))
    return {**source, WARNINGS: said} if said else source
