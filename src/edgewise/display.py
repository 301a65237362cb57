"""How values show themselves: in a notebook, where the viewer registers what draws them, and as one line of plain text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Literal

# What turns the direction of writing, so that a text reads as another than it is.
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
LINE_ENDS = frozenset("\n\t\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")

_renderers: list[Callable[[object], str]] = []


def register(renderer: Callable[[object], str]) -> Callable[[object], str]:
    """Let `renderer` make HTML of circuits, scores and reports; the last one registered is used."""
    _renderers.append(renderer)
    return renderer


def rich(value: object) -> str | None:
    """HTML of a circuit, scores or a report for a notebook, no scripts; None, for plain text, where nothing draws it."""
    return _renderers[-1](value) if _renderers else None


def clean(value: object, longest: int, *, cut: Literal["end", "middle"] = "end") -> str:
    r"""One line of plain text: no control or direction characters, and no longer than `longest`.

    Whatever files, models and other people's code bring goes through this before a person sees it.

    >>> clean("a\nb\x1b[31mc", 90), clean("from here to there", 11, cut="middle")
    ('a b\ufffd[31mc', 'from he…ere')
    """
    text = str(value)
    if len(text) > longest:
        end = longest // 3 if cut == "middle" else 0
        text = text[: longest - 1 - end] + "…" + text[len(text) - end :]
    return "".join(" " if c in LINE_ENDS else "\ufffd" if is_hostile(c) else c for c in text)


def is_hostile(character: str) -> bool:
    """Whether a character commands a terminal, turns the direction of writing, or is none."""
    return unicodedata.category(character) in ("Cc", "Cs", "Cn", "Co", "Zl", "Zp") or character in BIDI
