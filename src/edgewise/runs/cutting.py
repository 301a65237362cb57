"""Cutting scores again: circuits of other sizes from the scores that a run left, without another run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from edgewise.arguments import Size
from edgewise.circuit import Circuit
from edgewise.contract import best_scored
from edgewise.curve import Curve, CurvePoint
from edgewise.errors import EdgewiseError, FileError
from edgewise.formats.reading import find
from edgewise.methods import swept_method
from edgewise.runs.asked_sizes import ASKED_SIZES, refuse_unscored
from edgewise.scores import Scores
from edgewise.viewer.finding import Finding

Ranking = Literal["absolute", "signed"]


@final
@dataclass(frozen=True)
class Cut:
    """A circuit cut from `scores` by a `ranking`; `curve` is what was measured along that ranking, where anything was."""

    circuit: Circuit
    scores: Scores
    ranking: Ranking
    curve: Curve | None = None

    @property
    def selected(self) -> int:
        """How many edges, nodes or neurons it took, before those on no path were dropped."""
        return int(self.circuit.provenance[self.scores.level]["selected"])

    @property
    def measured(self) -> tuple[CurvePoint, ...]:
        """The point of the curve at its size; else those next to it; none where there is no curve."""
        points = [] if self.curve is None else [point for point in self.curve.points if point.faithfulness is not None]
        exact = [point for point in points if point.edges == self.selected]
        below = [point for point in points if point.edges < self.selected]
        above = [point for point in points if point.edges > self.selected]
        return tuple(exact[:1] or [*below[-1:], *above[:1]])


def cut(file: str | os.PathLike[str], *, edges: Size | None = None, ranking: Ranking | None = None) -> Cut:
    """The circuit of the best-scored `edges` of the scores in a run folder or a file of scores.

    Without `edges` it is as large as the circuit of the run, or else a tenth of all. Without `ranking` it is that of the run.
    FileError where there are no scores.
    """
    finding, scores = scored(file)
    order = ranking or ranking_of(scores)
    level = "edges" if edges is not None else scores.level
    size = edges if edges is not None else _size_of(finding.selected, level)
    scores = scores.at(level)
    circuit = best_scored(scores, size, absolute=order == "absolute")
    selected = circuit.provenance[level]["selected"]
    curves = [curve for curve in finding.curves if curve.ranking == order and level == "edges"]
    return Cut(with_recipe(circuit, order, **{level: selected}), scores, order, curves[0] if curves else None)


def scored(file: str | os.PathLike[str]) -> tuple[Finding, Scores]:
    """What a file or a run folder holds, and its scores; FileError where there are none."""
    finding = find(os.fspath(file))
    scores = finding.scores if finding.scores is not None else finding.node_scores
    if scores is None:
        raise FileError(
            f"{file} holds no scores to cut; give a run folder of a method that scores edges, or a file of scores"
        )
    return finding, scores


def ranking_of(scores: Scores) -> Ranking:
    """How the run that the scores are of ranked them."""
    recipe = scores.provenance.get("recipe")
    return "signed" if isinstance(recipe, Mapping) and recipe.get("ranking") == "signed" else "absolute"


def with_recipe(circuit: Circuit, ranking: Ranking, **asked: Any) -> Circuit:
    """The circuit, in whose provenance the recipe of the run is the one that would find it, if there is such a one."""
    recipe = circuit.provenance.get("recipe")
    if not isinstance(recipe, Mapping):
        return circuit
    try:
        refuse_unscored(swept_method(str(recipe.get("method")), recipe.get("options") or {})[0])
    except EdgewiseError:
        return circuit
    sizes = {**dict.fromkeys(ASKED_SIZES), "faithfulness": None, **asked}
    return circuit.with_provenance(recipe={**recipe, **sizes, "ranking": ranking})


def _size_of(circuit: Circuit | None, level: str) -> int | None:
    counts = None if circuit is None else circuit.provenance.get(level)
    selected = counts.get("selected") if isinstance(counts, Mapping) else None
    return selected if isinstance(selected, int) else None
