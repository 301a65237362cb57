"""Induction, hidden: what followed the last token where it stood before, by two heads among twelve.

    ^ d a f c a   →   f

- `a0.h2` attends to the position before its own and copies the token there: the previous-token head;
- `a2.h1` looks for positions whose previous token is its own token, by that copy, and copies the token there: the
  induction head (Elhage et al. 2021; Olsson et al. 2022, arXiv:2209.11895).

Causal. A prompt begins with `^`, so that every letter has a token before it. All other heads and all MLPs are noise, and
leak: each edge outside the circuit moves the answer's logit a little, less than a fiftieth of what an edge inside does. The
previous-token head looks so sharply that its softmax is nearly flat: replacing what its queries or keys read breaks the
circuit, and yet their gradients are as small as noise. Methods that go by gradients at the clean run rank them below it.
"""

from __future__ import annotations

import torch

from edgewise.programs.base import NOISE, Head, Program, Read, one_hot

START, LETTERS, LENGTH = "^", tuple("abcdefghij"), 10
SYMBOLS = (START, *LETTERS)
WORDS = (*SYMBOLS, "?")

# How sharply the two heads look (in units of the score), and how large the copy is as a logit.
PREVIOUS_SHARPNESS, INDUCTION_SHARPNESS, LOUDNESS = 9.0, 6.0, 8.0
EYE = torch.eye(len(SYMBOLS), dtype=torch.float64)


def _previous() -> Head:
    """The query of position p is the key of position p − 1."""
    places = torch.eye(LENGTH, dtype=torch.float64)
    return Head(
        layer=0,
        head=2,
        query=Read("position", PREVIOUS_SHARPNESS * one_hot([*range(1, LENGTH), -1], LENGTH)),
        key=Read("position", places),
        value=Read("token", EYE),
        to="previous",
    )


def _induction() -> Head:
    return Head(
        layer=2,
        head=1,
        query=Read("token", INDUCTION_SHARPNESS * EYE),
        key=Read("previous", EYE),
        value=Read("token", EYE),
        to="answer",
    )


INDUCTION_HIDDEN = Program(
    name="induction-hidden",
    summary="an induction circuit among noise (compiled)",
    words=WORDS,
    layers=3,
    heads=4,
    causal=True,
    spaces={"token": 11, "position": 10, "previous": 11, "answer": 11, NOISE: 16},
    tokens=one_hot([*range(len(SYMBOLS)), -1], len(SYMBOLS)),
    positions=torch.eye(LENGTH, dtype=torch.float64),
    nodes=(_previous(), _induction()),
    unembed=Read("answer", LOUDNESS * one_hot([*range(len(SYMBOLS)), -1], len(SYMBOLS))),
    leak=0.25,
)
