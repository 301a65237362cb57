"""Report: the numbers of an evaluation, frozen, printable, serialisable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from edgewise.display import rich
from edgewise.errors import UnknownName

# A KL below this is rounding.
NO_DISTANCE = 1e-6


@final
@dataclass(frozen=True)
class MetricReport:
    """One metric under four conditions: the clean model, the corrupted one, the circuit, and a random circuit.

    `clean`: the mean over the examples with all edges kept.
    `corrupted`: the mean with no edge kept.
    `circuit`: the mean with the circuit kept.
    `random`: the mean with a random circuit of the same size kept; None if it was not asked for.
    `values`: the circuit's metric, example by example.
    """

    clean: float
    corrupted: float
    circuit: float
    random: float | None
    values: tuple[float, ...] = field(repr=False)

    @property
    def faithfulness(self) -> float:
        """(circuit − corrupted) / (clean − corrupted); NaN where clean and corrupted are equal."""
        return self._share(self.circuit)

    @property
    def random_faithfulness(self) -> float | None:
        """The faithfulness of the random circuit; None if there is none."""
        return None if self.random is None else self._share(self.random)

    def _share(self, value: float) -> float:
        whole = self.clean - self.corrupted
        return (value - self.corrupted) / whole if whole else math.nan

    def to_dict(self) -> dict[str, float | None]:
        """The values as a dictionary for JSON, with None for NaN."""
        names = ("clean", "corrupted", "circuit", "random", "faithfulness", "random_faithfulness")
        return {name: _plain(getattr(self, name)) for name in names}


@final
@dataclass(frozen=True)
class NeuronCount:
    """The size of a circuit of neurons.

    `kept`: how many neurons it keeps.
    `live`: how many of them belong to writers on a path from input to logits.
    `total`: how many there are.
    `weighted_edges`: its size as MIB counts it, `Circuit.weighted_edges`.
    """

    kept: int
    live: int
    total: int
    weighted_edges: float


@final
@dataclass(frozen=True)
class Report:
    """What a circuit keeps of a behaviour: `report["logit_diff"].faithfulness`, its size, and how it was measured.

    `metrics`: a MetricReport for each metric, by name.
    `edges`: how many edges the circuit has.
    `live_edges`: how many of them lie on a path from input to logits.
    `total_edges`: how many edges the graph has.
    `nodes`: how many writers take part.
    `has_path`: whether a path leads from input to logits.
    `examples`: how many pairs it was measured on.
    `ablation`: the name of the ablation.
    `seconds`: how long it took.
    `neurons`: the size of a circuit of neurons; None for a circuit of edges.
    `held_out`: whether these pairs were held out when circuits were searched for.
    `warnings`: sentences about what is seldom meant, such as a model that does no better on the clean prompts.
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
    held_out: bool = False
    warnings: tuple[str, ...] = ()

    def __getitem__(self, metric: str) -> MetricReport:
        """The report of a metric by its name; UnknownName for a metric that was not measured."""
        key = metric.replace("-", "_")
        if key not in self.metrics:
            raise UnknownName.of("metric in this report", metric, self.metrics)
        return self.metrics[key]

    def to_dict(self) -> dict[str, Any]:
        """The values as a dictionary for JSON."""
        facts = {name: value for name, value in vars(self).items() if name not in ("metrics", "neurons")}
        neurons = {} if self.neurons is None else {"neurons": dict(vars(self.neurons))}
        return {**facts, **neurons, "metrics": {name: one.to_dict() for name, one in self.metrics.items()}}

    @property
    def measured(self) -> str:
        """One line that says how large the circuit is and what it was measured on."""
        if self.neurons is None:
            size = f"{self.edges:,} of {self.total_edges:,} edges"
        else:
            size = f"{self.neurons.kept:,} of {self.neurons.total:,} neurons"
        path = "" if self.has_path else "; no path from input to logits"
        return f"{size}, {self.judged_on}, {self.ablation} ablation{path}"

    @property
    def judged_on(self) -> str:
        """The pairs it was measured on, in words: `128 held-out examples`."""
        return f"{self.examples:,} {'held-out ' if self.held_out else ''}examples"

    def _repr_html_(self) -> str | None:
        return rich(self)

    def __str__(self) -> str:
        head = f"{'metric':<12}{'clean':>10}{'corrupted':>11}{'circuit':>10}{'faithful':>10}{'random':>10}"
        rows = [
            f"{name:<12}{m.clean:>10.4f}{m.corrupted:>11.4f}{m.circuit:>10.4f}{m.faithfulness:>10.2%}"
            + ("" if m.random_faithfulness is None else f"{m.random_faithfulness:>10.2%}")
            for name, m in self.metrics.items()
        ]
        return "\n".join([head, *rows, self.measured, *(f"warning: {sentence}" for sentence in self.warnings)])


def overfitting(found_on: float | None, held_out: float | None) -> float | None:
    """KL on held-out pairs over KL on the pairs a circuit was found on; None where either is unknown or there is none."""
    if found_on is None or held_out is None or found_on < NO_DISTANCE:
        return None
    return held_out / found_on


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
