"""Stability: how much of a circuit is the behaviour's, and how much the accident of the examples at hand.

Scores are means over examples, so examples can be drawn again, with replacement, without running the model again
(bootstrap; Efron 1979). Circuits found on such samples are compared by the Jaccard index of their edges: the share of edges
in either that is in both. Méloux et al. 2025 (arXiv:2510.00845) found 0.4 to 0.7 for published settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.attribution import ScoringMethod
from edgewise.attribution.base import refuse_zeros
from edgewise.attribution.constant_metric import refuse_rounding
from edgewise.circuit import Circuit
from edgewise.contract import Method
from edgewise.errors import InvalidValue, NothingScored
from edgewise.evaluation.areas import example_values
from edgewise.methods import method as find_method
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent
from edgewise.ranks import alone, current, split_or_refuse
from edgewise.request import Request

# A selection is called settled from this mean Jaccard index of two samples on, as proposed there.
SETTLED = 0.8
MIDDLE = (0.025, 0.975)


@final
@dataclass(frozen=True)
class Interval:
    """The middle 95 % of the resampled values, and their mean."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Tensor) -> Interval:
        """The interval of a set of values."""
        low, high = torch.quantile(values.double(), torch.tensor(MIDDLE, dtype=torch.float64)).tolist()
        return cls(float(values.double().mean()), low, high)

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@final
@dataclass(frozen=True)
class Resampling:
    """How examples are drawn again: how many `samples`, from which `seed`, and whether edges are ranked by absolute score."""

    samples: int = 100
    seed: int = 0
    absolute: bool = True

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise InvalidValue(f"{self.samples} samples cannot be compared; give at least 2")

    def draw(self, examples: int, size: int) -> Tensor:
        """Indices of the drawn examples, int64 [sample, size]."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randint(examples, (self.samples, size), generator=generator)


@final
@dataclass(frozen=True)
class Bootstrap:
    """What drawing the examples again does to the `circuit` that all of them select.

    `jaccard`: of the circuit of each sample with it. `between`: mean Jaccard index of two samples, by their size, ascending,
    the last being all examples. `faithfulness` of the circuit on each sample. `frequency` [writer, reader]: in which share
    of the samples an edge is selected.
    """

    circuit: Circuit
    examples: int
    resampling: Resampling
    jaccard: Interval
    between: dict[int, float]
    faithfulness: Interval
    frequency: Tensor

    @property
    def enough(self) -> int | None:
        """The fewest examples of those tried at which two samples agree well enough; None if at none they do."""
        return next((size for size, mean in self.between.items() if mean >= SETTLED), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; without the frequencies."""
        facts = {"edges": len(self.circuit), "examples": self.examples, **vars(self.resampling)}
        intervals = {"jaccard": vars(self.jaccard), "faithfulness": vars(self.faithfulness)}
        return {**facts, **intervals, "between": self.between, "enough": self.enough}

    def __str__(self) -> str:
        ranking, samples = "absolute" if self.resampling.absolute else "signed", self.resampling.samples
        sizes = ", ".join(f"{size}: {mean:.3f}" for size, mean in self.between.items())
        enough = f"{self.enough} examples" if self.enough else f"more than the {self.examples} at hand"
        return "\n".join(
            (
                f"{len(self.circuit):,} edges by {ranking} score, {self.examples} examples, {samples} samples",
                f"Jaccard index with the circuit of all examples, mean [95 %]: {self.jaccard}",
                f"faithfulness of that circuit, mean [95 %]:                   {self.faithfulness}",
                f"mean Jaccard index of two samples, by size: {sizes}",
                f"examples enough for {SETTLED:g}: {enough}",
            )
        )


def bootstrap(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    pairs: Pairs,
    *,
    edges: int,
    method: str | Method = "eap-ig",
    metric: AnyMetric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    resampling: Resampling = Resampling(),
    track: Track = silent,
) -> Bootstrap:
    """Draws the examples again and selects again: which edges stay, and from how many examples on.

    Scores every example once, on its own, and evaluates the circuit of all examples once: the model is not run again for a
    sample. InvalidValue for a method whose scores are no means over the examples (a search, `hisp`), and for a single pair.
    """
    chosen, fixed_ablation = resampled_method(find_method(method, {})), find_ablation(ablation).over_all(pairs)
    if len(pairs) < 2:
        raise InvalidValue("a single example can be drawn in one way only; give at least 2")
    graph = subject.graph
    if not 0 < edges <= graph.n_edges:
        raise InvalidValue(
            f"asked for {edges:,} edges, but the graph has {graph.n_edges:,}; give 1 to {graph.n_edges:,}"
        )
    request = Request(subject, pairs, find_metric(metric), fixed_ablation, 1, silent)
    mine = range(len(pairs))[split_or_refuse(len(pairs), "pairs")]
    each = track((pairs[i] for i in mine), len(mine), "scoring every example on its own")
    with alone():
        of_mine = [_of_one(chosen, replace(request, pairs=example))[graph.edge_mask].float() for example in each]
    scores = current().cat(torch.stack(of_mine))
    refuse_zeros(scores, request.metric)
    refuse_rounding(scores, request)
    selected = _Selected(scores, edges, resampling)
    mask = torch.zeros_like(graph.edge_mask)
    mask[graph.edge_mask] = selected.by_all
    values = example_values(request, [mask])
    frequency = torch.zeros(graph.edge_mask.shape)
    frequency[graph.edge_mask] = selected.samples(len(pairs)).float().mean(dim=0)
    return Bootstrap(
        circuit=Circuit(graph, mask, {"edges": edges, "absolute": resampling.absolute}),
        examples=len(pairs),
        resampling=resampling,
        jaccard=Interval.of(_jaccard(selected.samples(len(pairs)), selected.by_all[None])),
        between={size: selected.agreement(size) for size in _sizes(len(pairs))},
        faithfulness=Interval.of(_resampled_shares(values, resampling)),
        frequency=frequency,
    )


def resampled_method(chosen: Method) -> ScoringMethod:
    """The method, if its scores are means over the examples; InvalidValue otherwise."""
    if isinstance(chosen, ScoringMethod) and chosen.additive:
        return chosen
    raise InvalidValue(
        f"{chosen.name} gives no scores that are means over the examples, so the examples cannot be drawn again; "
        "leave the stability out, or use a method that scores edges, such as eap-ig"
    )


def _of_one(method: ScoringMethod, request: Request) -> Tensor:
    """The scores [writer, reader] of a single example; one to which no edge matters counts as zeros."""
    try:
        return method.scores(request)
    except NothingScored:
        return torch.zeros(request.subject.graph.edge_mask.shape)


@final
class _Selected:
    """What samples of examples select: `scores` [example, edge]."""

    def __init__(self, scores: Tensor, edges: int, resampling: Resampling) -> None:
        self.scores, self.edges, self.resampling = scores, edges, resampling
        self.by_all = self._top(scores.mean(dim=0, keepdim=True))[0]

    def samples(self, size: int) -> Tensor:
        """bool [sample, edge] of samples of that many examples."""
        drawn = self.resampling.draw(len(self.scores), size)
        return torch.cat([self._top((self.scores[rows]).mean(dim=0, keepdim=True)) for rows in drawn])

    def agreement(self, size: int) -> float:
        """Mean Jaccard index of one sample with the next."""
        selected = self.samples(size)
        return float(_jaccard(selected, selected.roll(1, dims=0)).mean())

    def _top(self, values: Tensor) -> Tensor:
        ranking = values.abs() if self.resampling.absolute else values
        chosen = ranking.sort(dim=1, descending=True, stable=True).indices[:, : self.edges]
        return torch.zeros_like(values, dtype=torch.bool).scatter_(1, chosen, value=True)


def _jaccard(a: Tensor, b: Tensor) -> Tensor:
    """[row]: shared entries over all entries of two bool [row, edge]."""
    return (a & b).sum(dim=1) / (a | b).sum(dim=1)


def _resampled_shares(values: Tensor, resampling: Resampling) -> Tensor:
    """[sample]: faithfulness from [clean, corrupted, circuit; example]."""
    drawn = resampling.draw(values.shape[1], values.shape[1])
    clean, corrupted, circuit = values[:, drawn].mean(dim=2)
    return (circuit - corrupted) / (clean - corrupted)


def _sizes(examples: int) -> list[int]:
    """Powers of two up to all examples.

    >>> _sizes(20)
    [2, 4, 8, 16, 20]
    """
    return sorted({*(2**k for k in range(1, examples.bit_length()) if 2**k < examples), examples})
