"""Forecast: what removals are expected to do to the metric, to leading order, from one backward pass along the search.

For the KL divergence, which has no slope at the clean run, that is half the curvature there: with p the clean probabilities,
F = diag(p) − p pᵀ their Fisher matrix and δ the change of the logits,

    KL ≈ ½ δᵀFδ = ½ E (uᵀδ)²     for a random u with covariance F,     uᵀδ ≈ −⟨what the edge carries, gradient of u · logits⟩

For other metrics it is the linear approximation of EAP.
"""

from __future__ import annotations

from typing import final

from edgewise.engine.frontier import Frontier, Removal
from edgewise.search.judge import Judge

# So many examples and tokens are looked at: a guess needs no more.
EXAMPLES, TOKENS = 8, 256


@final
class Forecast:
    """The expected change of the metric (lower is better), for removals at one place after the other."""

    def __init__(self, front: Frontier, judge: Judge) -> None:
        examples, width = judge.batch.pairs.clean.shape
        slope = judge.slope(max(1, min(EXAMPLES, TOKENS // width, examples)))
        self._judge = judge
        self._descent = None if slope is None else front.descent(slope)
        self._single: dict[int, list[float]] = {}
        self._whole: dict[int, float] = {}

    def change(self, removal: Removal) -> float | None:
        """Expected of a removal at the place where the search is, of one edge or of all into a reader; None: not known."""
        if self._descent is None:
            return None
        if removal.reader not in self._whole:
            readers, effects = self._descent.effects(removal.reader)
            self._single = dict(zip(readers, self._judge.expected(effects).T.tolist(), strict=True))
            self._whole = dict(zip(readers, self._judge.expected(effects.sum(dim=1)).tolist(), strict=True))
        if removal.writers is None:
            return self._whole[removal.reader]
        return self._single[removal.reader][removal.writers[0]] if len(removal.writers) == 1 else None
