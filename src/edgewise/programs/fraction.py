"""Fraction: at every position, which share of the tokens so far, the present one included, is an `x`.

    w x x z   →   0 1/2 2/3 1/2

- `m0` marks every `x`;
- `a1.h2` attends evenly to what came before and finds the share f of marks;
- `m1` gives each possible fraction c the logit 2cf − c² + 1 = f² + 1 − (f − c)², times a constant; the nearest is largest.

Causal. `m1` is linear where it is used, so only the marks and softmaxes bend what the program computes.
"""

from __future__ import annotations

from fractions import Fraction

import torch

from edgewise.programs.base import NOISE, Head, Neurons, Program, Read, one_hot

LETTERS, MARKED, LENGTH = ("w", "x", "y", "z"), "x", 5
FRACTIONS = tuple(sorted({Fraction(marked, of) for of in range(1, LENGTH + 1) for marked in range(of + 1)}))
WORDS = (*LETTERS, *map(str, FRACTIONS), "?")

# The two closest fractions are 1/20 apart: the logit of the right one is larger by a 400th of this.
LOUDNESS = 256.0


def answer(tokens: tuple[str, ...]) -> str:
    """What the program says at the last of these tokens.

    >>> answer(("w", "x", "x", "z"))
    '1/2'
    """
    return str(Fraction(tokens.count(MARKED), len(tokens)))


def _mark() -> Neurons:
    """relu(2x − 1): one for an x, off and away from its kink for the others."""
    return Neurons(
        layer=0,
        inputs=(Read("token", 2 * one_hot([LETTERS.index(MARKED)], len(LETTERS))),),
        bias=torch.tensor([-1.0], dtype=torch.float64),
        write=torch.ones(1, 1, dtype=torch.float64),
        shift=torch.zeros(1, dtype=torch.float64),
        to="mark",
    )


def _share() -> Head:
    return Head(layer=1, head=2, value=Read("mark", torch.ones(1, 1, dtype=torch.float64)), to="share")


def _compare() -> Neurons:
    """One neuron, relu(f + 1): f and a constant, whatever f is."""
    values = torch.tensor([float(fraction) for fraction in FRACTIONS], dtype=torch.float64)
    return Neurons(
        layer=1,
        inputs=(Read("share", torch.ones(1, 1, dtype=torch.float64)),),
        bias=torch.ones(1, dtype=torch.float64),
        write=LOUDNESS * 2 * values[:, None],
        shift=LOUDNESS * (1 - 2 * values - values**2),
        to="answer",
    )


FRACTION = Program(
    name="fraction",
    summary="the share of x among the tokens so far (compiled)",
    words=WORDS,
    layers=2,
    heads=4,
    causal=True,
    spaces={"token": 4, "position": 5, "mark": 1, "share": 1, "answer": len(FRACTIONS), NOISE: 12},
    tokens=one_hot([*range(len(LETTERS)), *[-1] * (len(FRACTIONS) + 1)], len(LETTERS)),
    positions=torch.eye(LENGTH, dtype=torch.float64),
    nodes=(_mark(), _share(), _compare()),
    unembed=Read("answer", one_hot([*[-1] * len(LETTERS), *range(len(FRACTIONS)), -1], len(FRACTIONS))),
)
