"""How strong, which colour, which pattern: the look of every edge, the same in all formats.

Colour tells the sign (blue and orange, told apart by every kind of colour vision), width and opacity the strength, the
line pattern and the mark at its end whether an edge goes into q, k, v or elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch
from edgewise.graph import HEAD, SHARED
from edgewise.scores import Scores

Kind = Literal["q", "k", "v", ""]

HELPS, HURTS, UNSCORED = "#0f68b0", "#c85a00", "#5b6b7d"
PATTERNS: dict[str, tuple[float, ...]] = {"q": (7, 3), "k": (1.6, 3.2), "v": (9, 3, 1.6, 3), "": ()}
# Edges weaker than the strongest so many are a haze behind them, as on the page.
LINES = 700
HAZE = (0.03, 0.16)


@final
@dataclass(frozen=True)
class Stroke:
    """One edge as it is drawn; `strength` is in [0, 1], `rank` counts from 1 at the strongest.

    `crowd` is 1 for few edges and falls with their number; `most` is how opaque the edge may be.
    """

    writer: str
    reader: str
    score: float | None
    strength: float
    rank: int
    crowd: float
    most: float = 1.0

    @property
    def edge(self) -> str:
        """Its name."""
        return f"{self.writer}->{self.reader}"

    @property
    def kind(self) -> Kind:
        """`q`, `k`, `v`, or the empty string for an MLP or the logits."""
        return kind_of(self.reader)

    @property
    def colour(self) -> str:
        """By sign."""
        if self.score is None:
            return UNSCORED
        return HURTS if self.score < 0 else HELPS

    @property
    def weight(self) -> float:
        """Strength as the eye gets it: among many edges only the strongest stand out."""
        return self.strength ** (2 - self.crowd)

    @property
    def width(self) -> float:
        """In pixels; thinner where there are many."""
        return 0.7 * (0.5 + 0.5 * self.crowd) + 3.6 * self.weight * (0.55 + 0.45 * self.crowd)

    @property
    def opacity(self) -> float:
        """Weak edges of a large circuit fade."""
        faintest = 0.12 + 0.52 * self.crowd
        return min(self.most, faintest + (0.95 - faintest) * self.weight)

    def describe(self) -> str:
        """The text a reader sees when pointing at the edge."""
        if self.score is None:
            return self.edge
        return f"{self.edge}\nscore {self.score:+.4g} (number {self.rank:,} by size)"


def strokes(circuit: Circuit, scores: Scores | None) -> list[Stroke]:
    """The edges of the circuit, weakest first, so that the strongest are drawn last and on top."""
    if scores is not None and scores.graph != circuit.graph:
        raise GraphMismatch(f"the scores and the circuit are of different graphs: {scores.graph} and {circuit.graph}")
    values = [(edge, None if scores is None else scores[edge]) for edge in circuit.edges]
    values.sort(key=lambda item: -abs(item[1] or 0.0))
    largest = max((abs(value) for _, value in values if value is not None and math.isfinite(value)), default=0.0)
    lines = len(values) if scores is None else min(LINES, len(values))
    crowd = min(1.0, (90 / max(1, lines)) ** 0.5)
    haze = min(HAZE[1], max(HAZE[0], 160 / max(1, len(values) - lines)))
    drawn = [
        Stroke(*_ends(edge), value, strength(value, largest), rank, crowd, most=1.0 if rank <= lines else haze)
        for rank, (edge, value) in enumerate(values, 1)
    ]
    return drawn[::-1]


def kind_of(reader: str) -> Kind:
    """Which input of a head a reader is; the empty string for an MLP or the logits."""
    match = HEAD.fullmatch(reader) or SHARED.fullmatch(reader)
    kind: Any = match[3] if match else ""
    return kind


def _ends(edge: str) -> tuple[str, str]:
    writer, _, reader = edge.partition("->")
    return writer, reader


def strength(score: float | None, largest: float) -> float:
    """Square root of the share of the largest finite score: weak edges stay visible beside strong ones.

    >>> strength(-0.25, 1.0), strength(None, 1.0), strength(math.inf, 1.0)
    (0.5, 0.4, 1.0)
    """
    if score is not None and math.isinf(score):
        return 1.0
    if score is None or not largest:
        return 0.4
    return min(1.0, (abs(score) / largest) ** 0.5)
