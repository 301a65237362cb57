"""Names that went with version 0.2 and go with 0.3: values of one level each, now Scores and Circuit with a level."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, final

from torch import Tensor

from edgewise.arguments import checked_argument
from edgewise.circuit import Circuit
from edgewise.graph import Graph
from edgewise.scores import Scores


@final
class _OfLevel(type):
    """`isinstance` asks for the level."""

    kind: type
    level: str

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.kind) and getattr(value, "level", None) == cls.level


@final
class NodeScores(metaclass=_OfLevel):
    """The old name of `Scores` at the level of nodes; it goes with version 0.3.

    `graph`, `values`, `provenance`: as in Scores.
    `neurons`: the scores of the neurons that these sum up, float [writer, d_model].
    """

    kind, level = Scores, "nodes"

    def __new__(  # type: ignore[misc]
        cls, graph: Graph, values: Tensor, neurons: Tensor | None = None, provenance: Mapping[str, Any] | None = None
    ) -> Scores:
        parts = None if neurons is None else Scores(graph, neurons, provenance, level="neurons")
        return Scores(graph, values, provenance, level="nodes", parts=parts)

    @staticmethod
    def of(scores: Scores) -> Scores:
        """The old way to write `scores.of_nodes` of `scores`."""
        scores = checked_argument("NodeScores.of: scores", Scores, scores)
        return scores.of_nodes


@final
class NeuronScores(metaclass=_OfLevel):
    """The old name of `Scores` at the level of neurons; it goes with version 0.3.

    `graph`, `values`, `provenance`: as in Scores.
    """

    kind, level = Scores, "neurons"

    def __new__(cls, graph: Graph, values: Tensor, provenance: Mapping[str, Any] | None = None) -> Scores:  # type: ignore[misc]
        return Scores(graph, values, provenance, level="neurons")


@final
class NeuronCircuit(metaclass=_OfLevel):
    """The old name of `Circuit` at the level of neurons; it goes with version 0.3.

    `graph`, `neurons`, `provenance`: as in `Circuit.of_neurons`.
    """

    kind, level = Circuit, "neurons"

    def __new__(cls, graph: Graph, neurons: Tensor, provenance: Mapping[str, Any] | None = None) -> Circuit:  # type: ignore[misc]
        return Circuit.of_neurons(graph, neurons, provenance)

    @staticmethod
    def from_indices(
        graph: Graph,
        d_model: int,
        neurons: Mapping[str, Iterable[int]],
        provenance: Mapping[str, Any] | None = None,
    ) -> Circuit:
        """The same as `Circuit.from_indices` with `graph`, `d_model`, `neurons` and `provenance`."""
        return Circuit.from_indices(graph, d_model, neurons, provenance)

    @staticmethod
    def full(graph: Graph, d_model: int) -> Circuit:
        """The same as `Circuit.full` of `graph` and `d_model`."""
        return Circuit.full(graph, d_model)
