"""What the MIB benchmark (Mueller et al. 2025, arXiv:2504.13151) reports of a set of scores, each beside random scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.evaluation.areas import MIB_SHARES, SELECTIONS, SizeCurve, size_curve, trapezoid
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.scores import Scores


@final
@dataclass(frozen=True)
class Benchmark:
    """CPR from the signed ranking, CMD and NDF from the absolute one, of the scores and of random ones on the same level."""

    signed: SizeCurve
    absolute: SizeCurve
    random_signed: SizeCurve
    random_absolute: SizeCurve

    @property
    def cpr(self) -> float:
        """Area under the faithfulness, signed ranking: higher is better."""
        return self.signed.cpr

    @property
    def cmd(self) -> float:
        """Area between the faithfulness and 1, absolute ranking: lower is better."""
        return self.absolute.cmd

    @property
    def ndf(self) -> float:
        """Area under the bounded faithfulness, absolute ranking: higher is better."""
        return self.absolute.ndf

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {name: curve.to_dict() for name, curve in vars(self).items()}

    def __str__(self) -> str:
        rows = [
            ("CPR (signed, higher is better)", self.cpr, self.random_signed.cpr),
            ("CMD (absolute, lower is better)", self.cmd, self.random_absolute.cmd),
            ("NDF (absolute, higher is better)", self.ndf, self.random_absolute.ndf),
        ]
        lines = [f"{name:<34}{value:>8.3f}{random:>9.3f}" for name, value, random in rows]
        head = f"{self.signed.metric} of {self.signed.level}"
        return "\n".join([f"{head:<34}{'scores':>8}{'random':>9}", *lines])


@typed
def benchmark(
    subject: Subject,
    scores: Scores,
    pairs: Pairs,
    *,
    shares: Sequence[float] = MIB_SHARES,
    seed: int = 0,
    **how: Any,
) -> Benchmark:
    """CPR, CMD and NDF of `scores` at the benchmark's ten sizes, beside those of random scores from `seed`.

    Scores of edges, of nodes or of neurons: the benchmark's three levels, in the sizes that `size_curve` counts. `how` goes
    to it: metric, ablation, batch_size, track.
    """
    generator = torch.Generator().manual_seed(seed)
    random = Scores(scores.graph, torch.randn(scores.values.shape, generator=generator), level=scores.level)

    def curve(of: Scores, selection: str) -> SizeCurve:
        return size_curve(subject, of, pairs, selection=selection, shares=shares, **how)

    return Benchmark(
        curve(scores, "signed"), curve(scores, "absolute"), curve(random, "signed"), curve(random, "absolute")
    )


@typed
def auroc(scores: Scores, reference: Circuit, *, selection: str = "greedy-absolute") -> float:
    """Area under the ROC curve of the edges at the ten sizes, in the convention of MIB's InterpBench track.

    Trapezoids over the ten points alone: no point at (0, 0) is added, and false-positive rates are divided by the last.
    `edgewise.evaluation.measure_recovery` has the conventions that use every threshold.
    """
    if scores.graph != reference.graph:
        raise GraphMismatch(
            f"the scores and the reference are of different graphs: {scores.graph} and {reference.graph}"
        )
    edges = scores.graph.n_edges
    if not 0 < len(reference) < edges:
        raise InvalidValue(
            f"the reference has {len(reference):,} of {edges:,} edges, so there is nothing to tell apart"
        )
    if selection not in SELECTIONS:
        raise UnknownName.of("selection", selection, SELECTIONS)
    picked = [SELECTIONS[selection](scores, int(share * edges)).without_dangling() for share in MIB_SHARES]
    true = [len(circuit & reference) / len(reference) for circuit in picked]
    false = [len(circuit - reference) / (edges - len(reference)) for circuit in picked]
    if not false[-1]:
        raise InvalidValue("no circuit of these scores has a false edge: their curve has no width")
    return trapezoid([rate / false[-1] for rate in false], true)
