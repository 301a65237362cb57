"""How far the scores of a method agree with the measured effects of all edges."""

from __future__ import annotations

from edgewise.comparison.method_run import MethodOutcome
from edgewise.comparison.table import finite
from edgewise.scores import Scores


def agreement(outcome: MethodOutcome, exact: Scores) -> dict[str, float | None]:
    """Rank correlations with exact effects, signed and by size, and the share of the `top` edges by size in common.

    The scores of a search say when an edge goes, not whether it helps: they have no signed correlation.
    """
    scores, top = outcome.scores, max(1, exact.graph.n_edges // 10)
    sizes = _sizes(scores).agreement(_sizes(exact), top=top)
    signed = scores.agreement(exact, top=top)["spearman"] if outcome.size_option is None else None
    return {
        "spearman": finite(signed),
        "spearman_absolute": finite(sizes["spearman"]),
        "overlap": sizes["overlap"],
        "top": float(top),
    }


def _sizes(scores: Scores) -> Scores:
    return Scores(scores.graph, scores.values.abs())
