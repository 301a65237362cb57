"""Which heads each circuit keeps, and what each is worth to the circuit that keeps it.

A head that a method drops although the circuit of another loses faithfulness without it works with others: alone it scored
low, together it matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from edgewise.ablations import Ablation, Replacer
from edgewise.ablations import ablation as find_ablation
from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.engine.forward import masked_forward
from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import GraphMismatch, UnknownName
from edgewise.graph import HEAD
from edgewise.metrics import Answers, AnyMetric, Metric
from edgewise.metrics import metric as find_metric
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.surroundings import neutrally


@final
@dataclass(frozen=True)
class HeadRow:
    """One head: its `role` if one is known, the circuits that keep it, and its worth to the base circuit.

    `worth` is the drop of the metric (higher is better) when the head is taken out of the base circuit; None if it is not in.
    """

    head: str
    role: str
    kept_by: tuple[str, ...]
    worth: float | None


@final
@dataclass(frozen=True)
class HeadStudy:
    """The heads that at least one of the circuits keeps, in index order; `base` is the circuit heads are taken out of."""

    circuits: tuple[str, ...]
    base: str
    metric: str
    rows: tuple[HeadRow, ...]

    def cooperating(self, dropped_by: str, *, above: float = 0.0) -> tuple[HeadRow, ...]:
        """Heads of the base circuit that `dropped_by` drops although each is worth more than `above`, dearest first."""
        if dropped_by not in self.circuits:
            raise UnknownName.of("circuit in this study", dropped_by, self.circuits)
        dropped = [
            row for row in self.rows if row.worth is not None and row.worth > above and dropped_by not in row.kept_by
        ]
        return tuple(sorted(dropped, key=lambda row: -(row.worth or 0.0)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**vars(self), "rows": [vars(row) for row in self.rows]}

    def __str__(self) -> str:
        roles = max((len(row.role) for row in self.rows), default=0)
        width = max(map(len, self.circuits)) + 2
        head = f"{'head':<8}{'role':<{roles + 2}}" if roles else f"{'head':<8}"
        lines = [head + "".join(f"{name:>{width}}" for name in self.circuits) + f"{'worth to ' + self.base:>26}"]
        for row in self.rows:
            marks = "".join(f"{'yes' if name in row.kept_by else '–':>{width}}" for name in self.circuits)
            worth = f"{row.worth:>26.4f}" if row.worth is not None else ""
            lines.append(f"{row.head:<8}" + (f"{row.role:<{roles + 2}}" if roles else "") + marks + worth)
        return "\n".join(lines)


@typed
@watched
@neutrally
@torch.no_grad()
def study_heads(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    circuits: Mapping[str, Circuit],
    pairs: Pairs,
    *,
    base: str,
    metric: AnyMetric = "kl",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    roles: Mapping[str, str] | None = None,
    track: Track = silent,
    progress: bool | None = None,
) -> HeadStudy:
    """Which heads each of the named circuits keeps, and the worth of each head to the circuit `base`.

    A circuit keeps a head that has an edge on a path from input to logits. `roles` maps head names to what is known of them.
    """
    if base not in circuits:
        raise UnknownName.of("circuit", base, circuits)
    if any(circuit.graph != subject.graph for circuit in circuits.values()):
        raise GraphMismatch(f"the circuits are of another model than {subject.name}: {subject.graph}")
    kept = {name: set(_heads(circuit.without_dangling())) for name, circuit in circuits.items()}
    chosen, known = find_metric(metric), dict(roles or {})
    masks = [_without(circuits[base], head) for head in sorted(kept[base])]
    replacer = find_ablation(ablation).prepared(subject, pairs, batch_size)
    label, batches = f"taking {len(masks)} heads out of {base}", -(-len(pairs) // batch_size)
    masks = [circuits[base].mask, *masks]
    sums = torch.zeros(len(masks), dtype=torch.float64)
    with subject.at_work(), steady(subject.model):
        runs = _runs(subject, masks, pairs.batches(batch_size), chosen, replacer)
        for number, total in track(runs, batches * len(masks), label):
            sums[number] += total
    drops = ((sums[0] - sums[1:]) / len(pairs)).tolist()
    worth = dict(zip(sorted(kept[base]), drops, strict=True))
    rows = [
        HeadRow(head, known.get(head, ""), tuple(name for name in circuits if head in kept[name]), worth.get(head))
        for head in _heads(Circuit.full(subject.graph))
        if any(head in heads for heads in kept.values())
    ]
    return HeadStudy(tuple(circuits), base, chosen.name, tuple(rows))


def _heads(circuit: Circuit) -> Iterator[str]:
    return (node for node in circuit.nodes if HEAD.fullmatch(node))


def _without(circuit: Circuit, head: str) -> Tensor:
    mask = circuit.mask.clone()
    mask[circuit.graph.writer_index[head]] = False
    return mask


def _runs(
    subject: Subject, masks: list[Tensor], batches: Iterable[Pairs], metric: Metric, replacer: Replacer
) -> Iterator[tuple[int, float]]:
    """The number of each mask, and the sum of the metric under it, for one batch after the other."""
    workspace = Workspace()
    for batch in batches:
        ready = subject.ready(batch)
        replacement, answers = replacer(ready), Answers(ready.correct, ready.wrong)
        clean = subject.logits(ready.clean, ready.positions)
        for number, mask in enumerate(masks):
            logits = masked_forward(subject, ready.clean, ready.positions, mask, replacement, workspace=workspace)
            yield number, float(metric.objective(logits, answers, clean).double().sum())
