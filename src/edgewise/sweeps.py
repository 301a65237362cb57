"""Sweep: the circuits a search finds at values of its size option, from few edges to many."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final
from warnings import warn

import torch

from edgewise.arguments import typed_methods
from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.scores import Scores


@final
@typed_methods
@dataclass(frozen=True)
class Sweep:
    """The circuits that a search finds at several values of its size option, from few edges to many.

    `size_option`: the name of the option (`tau` of ACDC).
    `values`: its values, descending; the larger, the fewer edges.
    `circuits`: one circuit for each value.
    Raises InvalidValue for values that do not descend, GraphMismatch for circuits of different graphs.
    """

    size_option: str
    values: tuple[float, ...]
    circuits: tuple[Circuit, ...]

    @property
    def dial(self) -> str:
        """The old name of `size_option`; it goes with version 0.3."""
        warn("Sweep.dial is now Sweep.size_option", DeprecationWarning, stacklevel=2)
        return self.size_option

    def __post_init__(self) -> None:
        if not self.values or len(self.values) != len(self.circuits):
            raise InvalidValue(f"a sweep needs at least one value of {self.size_option}, and one circuit for each")
        if list(self.values) != sorted(set(self.values), reverse=True):
            raise InvalidValue(f"the values of {self.size_option} in a sweep must descend: {self.values}")
        if len({circuit.graph for circuit in self.circuits}) > 1:
            raise GraphMismatch("the circuits of a sweep are of different graphs")

    @cached_property
    def scores(self) -> Scores:
        """Scores of all edges: the smallest value at which an edge goes, infinite for an edge that no value removes."""
        graph = self.circuits[0].graph
        values = torch.full(graph.edge_mask.shape, torch.inf)
        for value, circuit in zip(self.values, self.circuits, strict=True):
            values[~circuit.mask] = value
        shared = {
            k: v
            for k, v in self.circuits[0].provenance.items()
            if k not in ("edges", "tested", "computed", "final", "seconds")
        }
        options = {k: v for k, v in dict(shared.get("options", {})).items() if k != self.size_option}
        return Scores(
            graph, values, {**shared, "options": options, "dial": self.size_option, "values": list(self.values)}
        )

    def __len__(self) -> int:
        return len(self.circuits)

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{value:g}: {len(circuit):,}" for value, circuit in zip(self.values, self.circuits, strict=True)
        )
        return f"<Sweep over {self.size_option}: {sizes} edges>"
