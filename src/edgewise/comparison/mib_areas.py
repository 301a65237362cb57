"""The areas of the MIB benchmark for what a method found: CPR, CMD, AUROC."""

from __future__ import annotations

import math
from typing import Any

from edgewise.circuit import Circuit
from edgewise.errors import InvalidValue
from edgewise.evaluation import auroc, size_curve
from edgewise.request import Request
from edgewise.scores import Scores


def areas_of(scores: Scores, request: Request) -> dict[str, float | None]:
    """`cpr` of the signed ranking and `cmd` of the absolute one, at the benchmark's ten sizes.

    The scores of a search rank edges by the value of its size option at which they go, those that never go first.
    """
    conditions: dict[str, Any] = {
        "metric": request.metric,
        "ablation": request.ablation,
        "batch_size": request.batch_size,
        "track": request.track,
    }
    absolute = size_curve(request.subject, scores, request.pairs, selection="absolute", **conditions)
    if bool((scores.values >= 0).all()):
        return {"cpr": _known(absolute.cpr), "cmd": _known(absolute.cmd)}  # Both rankings are the same.
    signed = size_curve(request.subject, scores, request.pairs, selection="signed", **conditions)
    return {"cpr": _known(signed.cpr), "cmd": _known(absolute.cmd)}


def _known(area: float) -> float | None:
    return area if math.isfinite(area) else None


def auroc_of(scores: Scores, reference: Circuit | None) -> float | None:
    """The benchmark's area under the ROC of the edges; None without a reference, or where the curve has no width."""
    if reference is None:
        return None
    try:
        return auroc(scores, reference)
    except InvalidValue:
        return None
