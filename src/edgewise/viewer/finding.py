"""Finding: everything there is to show of one circuit, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

from edgewise.circuit import Circuit
from edgewise.curve import Curve
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.viewer.document import AttentionEntry

SHOWN = 200


@final
@dataclass(frozen=True)
class Finding:
    """What a file or a run folder holds: a circuit, scores, or both on one graph, and what is known about them.

    `exact`: measured effects of the edges. `report`: that of an evaluation, as plain values. `reference`: the published
    circuit to hold it against. `roles`: group → its heads and MLPs. `attention`: where heads attend. `other`: a second
    finding to compare with. `neurons`: the circuit of neurons whose edges `circuit` has; `node_scores`: scores of nodes, and
    of neurons if they are known.
    """

    circuit: Circuit | None = None
    scores: Scores | None = None
    exact: Scores | None = None
    curves: tuple[Curve, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)
    reference: Circuit | None = None
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attention: AttentionEntry | None = None
    other: Finding | None = None
    label: str = ""
    neurons: Circuit | None = None
    node_scores: Scores | None = None

    @classmethod
    def of(cls, value: Circuit | Scores) -> Finding:
        """What there is to show of one value."""
        if isinstance(value, Circuit):
            return cls(circuit=value.circuit, neurons=value if value.level == "neurons" else None)
        return cls(scores=value) if value.level == "edges" else cls(node_scores=value)

    @property
    def selected(self) -> Circuit | None:
        """The circuit that was found, of neurons if it is one of neurons; None if there are only scores."""
        return self.circuit if self.neurons is None else self.neurons

    @property
    def shown(self) -> Circuit:
        """The circuit to draw: its own, or the strongest edges of its scores."""
        value = self.circuit if self.circuit is not None else self.scores
        if value is None and self.node_scores is not None:
            raise InvalidValue("these are scores of nodes, which have no edges to show; select a circuit from them")
        if value is None:
            raise InvalidValue("there is neither a circuit nor scores")
        return strongest(value)

    @property
    def graph(self) -> Graph:
        """The graph that everything in it is on; GraphMismatch if it is not one."""
        graph = self.shown.graph
        for name, value in self._parts():
            if value is not None and value.graph != graph:
                raise GraphMismatch(f"{name}: these are of another graph ({value.graph}) than the circuit ({graph})")
        return graph

    def beside(self, other: Finding | None) -> Finding:
        """The same with another one to compare it with."""
        return replace(self, other=other)

    def _parts(self) -> list[tuple[str, Circuit | Scores | None]]:
        mine: list[tuple[str, Circuit | Scores | None]] = [
            ("scores", self.scores),
            ("exact effects", self.exact),
            ("a reference circuit", self.reference),
        ]
        if self.other is not None:
            mine += [("a circuit to compare with", self.other.circuit), ("scores to compare with", self.other.scores)]
        return mine


def strongest(value: Circuit | Scores) -> Circuit:
    """The circuit itself; of scores, the strongest edges."""
    return value if isinstance(value, Circuit) else value.top(min(SHOWN, value.graph.n_edges))
