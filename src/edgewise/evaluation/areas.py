"""How faithful circuits are as they grow: the curve of a set of scores, and its areas as the MIB benchmark takes them.

At each share p of all n edges (or nodes, or neurons: whatever has a score) the circuit is the best-scored p · n, without
those on no path. With f(p) its faithfulness,

    CPR = ∫ f(p) dp,      CMD = ∫ |1 − f(p)| dp,      from the smallest share to 1, by trapezoids,

CPR asks for what helps (higher is better; it may exceed 1), CMD for what matches the model (lower is better). MIB takes CPR
from the signed ranking and CMD from the absolute one: Mueller et al. 2025 (arXiv:2504.13151). NDF = 1 − min(|1 − f|, 1) is
the same distance, bounded, so that no single size outweighs all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.ranks import current
from edgewise.request import Request
from edgewise.scores import Scores
from edgewise.surroundings import neutrally

MIB_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Scores of any level to a circuit of that level.
Selection = Callable[[Scores, int], Circuit]
SELECTIONS: dict[str, Selection] = {
    "signed": lambda scores, n: scores.top(n, absolute=False),
    "absolute": lambda scores, n: scores.top(n, absolute=True),
    "greedy-signed": lambda scores, n: scores.greedy(n, absolute=False),
    "greedy-absolute": lambda scores, n: scores.greedy(n, absolute=True),
}


@final
@dataclass(frozen=True)
class Size:
    """One circuit of the curve: its nominal share, its size before and after what dangles goes, and its faithfulness.

    `selected` and `kept` count what has a score: edges, heads and MLPs, or neurons. `weighted_edges` is MIB's size of all
    three: edges, each counted as the share of its writer's neurons that is kept.
    """

    share: float
    selected: int
    kept: int
    faithfulness: float
    weighted_edges: float

    @property
    def ndf(self) -> float:
        """1 where the circuit does what the model does, 0 where it is as far from it as the corrupted run, or farther."""
        return 1 - min(abs(1 - self.faithfulness), 1.0)


@final
@dataclass(frozen=True)
class SizeCurve:
    """Faithfulness at growing sizes under one `selection`, with the clean and the replaced model's metric.

    `level` says what is selected, "edges", "nodes" or "neurons", out of `total` of them.
    """

    selection: str
    metric: str
    clean: float
    corrupted: float
    sizes: tuple[Size, ...] = field(repr=False)
    level: str
    total: int

    @property
    def cpr(self) -> float:
        """Area under the faithfulness: higher is better."""
        return self._area([size.faithfulness for size in self.sizes])

    @property
    def cmd(self) -> float:
        """Area between the faithfulness and 1: lower is better."""
        return self._area([abs(1 - size.faithfulness) for size in self.sizes])

    @property
    def ndf(self) -> float:
        """Area under the bounded faithfulness: higher is better."""
        return self._area([size.ndf for size in self.sizes])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        facts = {name: value for name, value in vars(self).items() if name != "sizes"}
        areas = {"cpr": self.cpr, "cmd": self.cmd, "ndf": self.ndf}
        return {**facts, **areas, "sizes": [{**vars(size), "ndf": size.ndf} for size in self.sizes]}

    def _area(self, heights: Sequence[float]) -> float:
        return trapezoid([size.share for size in self.sizes], heights)


@typed
@watched
@neutrally
def size_curve(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    scores: Scores,
    pairs: Pairs,
    *,
    selection: str = "absolute",
    shares: Sequence[float] = MIB_SHARES,
    metric: AnyMetric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    track: Track = silent,
    progress: bool | None = None,
) -> SizeCurve:
    """The faithfulness of the circuits that hold each of `shares` of all edges, nodes or neurons, taken by `selection`.

    Scores of nodes give circuits of heads and MLPs (input writers always stay and do not count), those of neurons circuits of
    neurons (those of input writers count too, as in MIB). `selection` is "signed" or "absolute"; of edges, also either with
    "greedy-" in front: best first from the output. Means over the pairs. Raises GraphMismatch for scores of another graph.
    """
    if scores.graph != subject.graph:
        raise GraphMismatch(f"the scores are of another model: {scores.graph}; {subject.name} has {subject.graph}")
    if not shares or any(not 0 <= share <= 1 for share in shares) or list(shares) != sorted(shares):
        raise InvalidValue(f"the shares of a curve must ascend within 0 and 1, not {list(shares)}")
    if selection not in SELECTIONS:
        raise UnknownName.of("selection", selection, SELECTIONS)
    chosen = find_metric(metric)
    count = COUNTS[scores.level]
    picked = [SELECTIONS[selection](scores, int(share * len(scores))) for share in shares]
    circuits = [circuit.without_dangling() for circuit in picked]
    request = Request(subject, pairs, chosen, find_ablation(ablation), batch_size, track)
    means = example_values(request, [Mask.of(circuit) for circuit in circuits]).mean(dim=1).tolist()
    clean, corrupted, found = means[0], means[1], means[2:]
    sizes = tuple(
        Size(share, count(before), count(after), _share(value, clean, corrupted), after.weighted_edges)
        for share, before, after, value in zip(shares, picked, circuits, found, strict=True)
    )
    return SizeCurve(selection, chosen.name, clean, corrupted, sizes, scores.level, len(scores))


def trapezoid(places: Sequence[float], heights: Sequence[float]) -> float:
    """Area under the line through the points, between the first and the last place.

    >>> trapezoid([0.0, 0.5, 1.0], [0.0, 1.0, 1.0])
    0.75
    """
    steps = zip(places, places[1:], heights, heights[1:], strict=False)
    return math.fsum((right - left) * (low + high) / 2 for left, right, low, high in steps)


@torch.no_grad()
def example_values(request: Request, masks: Sequence[Tensor | Mask]) -> Tensor:
    """The metric of the clean model, the replaced one, and under each of `masks`: float64 [2 + mask, example]."""
    subject, space, mine = request.subject, Workspace(), request.share()
    values: list[Tensor] = []
    with subject.at_work(), steady(subject.model):
        for batch in request.track(mine.each_batch(), mine.batches, "evaluating circuits of every size"):
            pairs, replacement = batch.pairs, batch.replacement
            clean = subject.logits(pairs.clean, pairs.positions)
            under = (
                masked_forward(subject, pairs.clean, pairs.positions, mask, replacement, workspace=space)
                for mask in masks
            )
            runs = (clean, replacement.logits(subject, pairs.positions), *under)
            values.append(torch.stack([batch.objective(logits, clean).double().cpu() for logits in runs]))
    return request.metric.sign * current().cat(torch.cat(values, dim=1), dim=1)


def _nodes(circuit: Circuit) -> int:
    """How many heads and MLPs write to something: a head that only shares the key and value of a kept one does not."""
    return int(circuit.mask.any(dim=1)[len(circuit.graph.inputs) :].sum())


# Level → how many of what has a score a circuit has.
COUNTS: dict[str, Callable[[Circuit], int]] = {"edges": len, "nodes": _nodes, "neurons": len}


def _share(value: float, clean: float, corrupted: float) -> float:
    return (value - corrupted) / (clean - corrupted) if clean != corrupted else math.nan
