"""Report: the numbers of an evaluation, frozen, printable, serialisable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewise.display import rich
from edgewise.errors import UnknownName


@dataclass(frozen=True)
class MetricReport:
    """One metric of the clean model, the replaced one (the empty circuit), the circuit and a random circuit as large.

    `faithfulness` = (circuit − corrupted) / (clean − corrupted); `random` and `random_faithfulness` are None when no random
    circuit was asked for. Faithfulness is NaN where clean and corrupted do not differ. `values`: the circuit's metric
    example by example.
    """

    clean: float
    corrupted: float
    circuit: float
    random: float | None
    values: tuple[float, ...]

    @property
    def faithfulness(self) -> float:
        """Share of the clean model's distance to the corrupted one that the circuit recovers."""
        return self._share(self.circuit)

    @property
    def random_faithfulness(self) -> float | None:
        """The same for a random circuit of the same size."""
        return None if self.random is None else self._share(self.random)

    def _share(self, value: float) -> float:
        whole = self.clean - self.corrupted
        return (value - self.corrupted) / whole if whole else math.nan

    def to_dict(self) -> dict[str, float | None]:
        """Plain values; NaN becomes None."""
        names = ("clean", "corrupted", "circuit", "random", "faithfulness", "random_faithfulness")
        return {name: _plain(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class Report:
    """What a circuit keeps: `report["logit_diff"].faithfulness`, sizes, and how it was measured.

    `edges` counts the circuit's edges, `live_edges` those on a path from input to logits, out of `total_edges`.
    """

    metrics: Mapping[str, MetricReport]
    edges: int
    live_edges: int
    total_edges: int
    nodes: int
    has_path: bool
    examples: int
    ablation: str
    seconds: float

    def __getitem__(self, metric: str) -> MetricReport:
        key = metric.replace("-", "_")
        if key not in self.metrics:
            raise UnknownName.of("metric in this report", metric, self.metrics)
        return self.metrics[key]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        facts = {name: value for name, value in vars(self).items() if name != "metrics"}
        return {**facts, "metrics": {name: one.to_dict() for name, one in self.metrics.items()}}

    def _repr_html_(self) -> str:
        return rich(self)

    def __str__(self) -> str:
        head = f"{'metric':<12}{'clean':>10}{'corrupted':>11}{'circuit':>10}{'faithful':>10}{'random':>10}"
        rows = [
            f"{name:<12}{m.clean:>10.4f}{m.corrupted:>11.4f}{m.circuit:>10.4f}{m.faithfulness:>10.2%}"
            + ("" if m.random_faithfulness is None else f"{m.random_faithfulness:>10.2%}")
            for name, m in self.metrics.items()
        ]
        size = f"{self.edges:,} of {self.total_edges:,} edges, {self.examples} examples, {self.ablation} ablation"
        return "\n".join([head, *rows, size if self.has_path else size + "; no path from input to logits"])


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
