"""Reverse: the first n of five tokens in reverse order, where n is the number of letters; blanks stay where they are.

    a b c _ _   →   c b a _ _

- `a0.h1` attends evenly and finds the share of letters;
- `m0` turns the share into the number of letters, one unit for each;
- `m1` looks up, for the number of letters n and the own position p, where to look: n − 1 − p, or p if that is no letter;
- `a2.h2` looks there and copies the token.

Reads in both directions. The ramps of `m0` are set off the whole numbers, and every threshold of `m1` is off the values it
meets: no unit sits at its kink, so gradients are what they seem.
"""

from __future__ import annotations

import torch

from edgewise.programs.base import NOISE, Head, Neurons, Program, Read, one_hot

LETTERS, BLANK, LENGTH = ("a", "b", "c"), "_", 5
SYMBOLS = (*LETTERS, BLANK)
WORDS = (*SYMBOLS, "?")

# How sharply the last head looks (in units of the score), and how large its copy is as a logit.
SHARPNESS, LOUDNESS = 5.0, 8.0
EYE = torch.eye(len(SYMBOLS), dtype=torch.float64)


def answer(tokens: tuple[str, ...], position: int) -> str:
    """What the program says at a position of five tokens.

    >>> [answer(("a", "b", "c", "_", "_"), position) for position in range(5)]
    ['c', 'b', 'a', '_', '_']
    """
    return tokens[target(sum(token in LETTERS for token in tokens), position)]


def target(letters: int, position: int) -> int:
    """Where the token for a position is found."""
    return letters - 1 - position if position < letters else position


def _share() -> Head:
    is_letter = torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    return Head(layer=0, head=1, value=Read("token", is_letter), to="share")


def _count() -> Neurons:
    """Number n is on if the ramp to n has been climbed and that to n + 1 has not; each ramp is two neurons."""
    steps = torch.arange(1, LENGTH + 1, dtype=torch.float64)
    climbed = one_hot(list(range(LENGTH)), LENGTH)
    on = torch.zeros(LENGTH + 1, LENGTH, dtype=torch.float64)
    on[1:] += climbed
    on[:-1] -= climbed
    return Neurons(
        layer=0,
        inputs=(Read("share", torch.full((2 * LENGTH, 1), float(LENGTH), dtype=torch.float64)),),
        bias=torch.cat([0.9 - steps, -0.1 - steps]),
        write=torch.cat([on, -on], dim=1),
        shift=one_hot([0], LENGTH + 1)[0],
        to="count",
    )


def _look_up() -> Neurons:
    """A neuron for every number of letters and every position: on if both are."""
    cases = [(letters, position) for letters in range(LENGTH + 1) for position in range(LENGTH)]
    return Neurons(
        layer=1,
        inputs=(
            Read("count", 2 * one_hot([letters for letters, _ in cases], LENGTH + 1)),
            Read("position", 2 * one_hot([position for _, position in cases], LENGTH)),
        ),
        bias=torch.full((len(cases),), -3.0, dtype=torch.float64),
        # A count of 0.9 and a position of 1 leave 0.8 above the threshold.
        write=1.25 * one_hot([target(*case) for case in cases], LENGTH).T,
        shift=torch.zeros(LENGTH, dtype=torch.float64),
        to="target",
    )


def _copy() -> Head:
    places = torch.eye(LENGTH, dtype=torch.float64)
    return Head(
        layer=2,
        head=2,
        query=Read("target", SHARPNESS * places),
        key=Read("position", places),
        value=Read("token", EYE),
        to="answer",
    )


REVERSE = Program(
    name="reverse",
    summary="reverses five tokens (compiled)",
    words=WORDS,
    layers=3,
    heads=3,
    causal=False,
    spaces={"token": 4, "position": 5, "share": 1, "count": 6, "target": 5, "answer": 4, NOISE: 12},
    tokens=one_hot([*range(len(SYMBOLS)), -1], len(SYMBOLS)),
    positions=torch.eye(LENGTH, dtype=torch.float64),
    nodes=(_share(), _count(), _look_up(), _copy()),
    unembed=Read("answer", LOUDNESS * one_hot([*range(len(SYMBOLS)), -1], len(SYMBOLS))),
)
