"""Report: the numbers of an evaluation, frozen, printable, serialisable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from edgewise.display import rich
from edgewise.errors import UnknownName


@final
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


@final
@dataclass(frozen=True)
class NeuronCount:
    """The size of a circuit of neurons: how many it keeps, how many `live` ones of writers on a path, out of `total`.

    `weighted_edges` is MIB's size: its edges, each counted as the share of its writer's neurons that is kept.
    """

    kept: int
    live: int
    total: int
    weighted_edges: float


@final
@dataclass(frozen=True)
class Report:
    """What a circuit keeps: `report["logit_diff"].faithfulness`, sizes, and how it was measured.

    `edges` counts the circuit's edges, `live_edges` those on a path from input to logits, out of `total_edges`. `neurons` is
    the size of a circuit of neurons, None for one of edges; its edges are all those between its nodes.
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
    neurons: NeuronCount | None = None

    def __getitem__(self, metric: str) -> MetricReport:
        key = metric.replace("-", "_")
        if key not in self.metrics:
            raise UnknownName.of("metric in this report", metric, self.metrics)
        return self.metrics[key]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        facts = {name: value for name, value in vars(self).items() if name not in ("metrics", "neurons")}
        neurons = {} if self.neurons is None else {"neurons": dict(vars(self.neurons))}
        return {**facts, **neurons, "metrics": {name: one.to_dict() for name, one in self.metrics.items()}}

    @property
    def measured(self) -> str:
        """One line: how large the circuit is, out of how much, and what it was measured on."""
        if self.neurons is None:
            size = f"{self.edges:,} of {self.total_edges:,} edges"
        else:
            size = f"{self.neurons.kept:,} of {self.neurons.total:,} neurons"
        path = "" if self.has_path else "; no path from input to logits"
        return f"{size}, {self.examples} examples, {self.ablation} ablation{path}"

    def _repr_html_(self) -> str | None:
        return rich(self)

    def __str__(self) -> str:
        head = f"{'metric':<12}{'clean':>10}{'corrupted':>11}{'circuit':>10}{'faithful':>10}{'random':>10}"
        rows = [
            f"{name:<12}{m.clean:>10.4f}{m.corrupted:>11.4f}{m.circuit:>10.4f}{m.faithfulness:>10.2%}"
            + ("" if m.random_faithfulness is None else f"{m.random_faithfulness:>10.2%}")
            for name, m in self.metrics.items()
        ]
        return "\n".join([head, *rows, self.measured])


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
