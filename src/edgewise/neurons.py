"""Neurons, the coordinates that writers add to the residual stream: scores of them, and circuits made of them.

A neuron is one of the d_model coordinates of what a writer puts out, as in the EAP-IG library and MIB, not a hidden unit of
an MLP. A circuit of neurons gives every reader clean values at the kept coordinates of the writers it reads, and what the
ablation puts in their place at all others. Writers without a kept neuron are not in it, and have no edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

from edgewise.circuit import Circuit, node_circuit
from edgewise.display import rich
from edgewise.errors import GraphMismatch, InvalidValue, NumericalError, UnknownName
from edgewise.graph import Graph


@final
class NeuronCircuit:
    """A set of neurons of a Graph: immutable, comparable, with set algebra.

    `neurons` is bool [writer, d_model]. `circuit` has the edges that come with them: all between writers with a kept neuron.
    `a | b`, `a & b`, `a - b`, `a ^ b`, `a <= b`, `len(a)` are those of sets and need equal graphs and widths.
    """

    def __init__(self, graph: Graph, neurons: Tensor, provenance: Mapping[str, Any] | None = None) -> None:
        _check_shape(graph, neurons)
        self.graph = graph
        self.neurons = neurons.detach().bool().cpu().clone()
        self.provenance: Mapping[str, Any] = MappingProxyType(dict(provenance or {}))

    @classmethod
    def from_indices(
        cls,
        graph: Graph,
        d_model: int,
        neurons: Mapping[str, Iterable[int]],
        provenance: Mapping[str, Any] | None = None,
    ) -> NeuronCircuit:
        """The circuit with these coordinates of the named writers; UnknownName for a writer the graph does not have."""
        kept = torch.zeros(len(graph.writers), d_model, dtype=torch.bool)
        for writer, places in neurons.items():
            if writer not in graph.writer_index:
                raise UnknownName.of("writer", writer, graph.writers)
            wanted = list(places)
            if wrong := [place for place in wanted if not 0 <= place < d_model]:
                raise InvalidValue(f"{writer} has no neuron {wrong[0]}: it writes {d_model:,}, counted from 0")
            kept[graph.writer_index[writer], wanted] = True
        return cls(graph, kept, provenance)

    @classmethod
    def full(cls, graph: Graph, d_model: int) -> NeuronCircuit:
        """The circuit that keeps every neuron."""
        return cls(graph, torch.ones(len(graph.writers), d_model, dtype=torch.bool))

    @property
    def d_model(self) -> int:
        """How many neurons each writer has."""
        return self.neurons.shape[1]

    @property
    def n_neurons(self) -> int:
        """How many neurons the graph has, kept or not."""
        return self.neurons.numel()

    @cached_property
    def circuit(self) -> Circuit:
        """All edges between the writers with a kept neuron; its provenance says how many neurons that are."""
        counts = {"kept": len(self), "total": self.n_neurons}
        known = self.provenance.get("neurons")
        facts = {**self.provenance, "neurons": {**(known if isinstance(known, Mapping) else {}), **counts}}
        return node_circuit(self.graph, self.neurons.any(dim=1), facts)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the writers with a kept neuron, in index order."""
        return tuple(name for name, on in zip(self.graph.writers, self.neurons.any(dim=1).tolist(), strict=True) if on)

    @property
    def indices(self) -> dict[str, list[int]]:
        """The kept coordinates of each writer that has any."""
        return {name: self.neurons[self.graph.writer_index[name]].nonzero().flatten().tolist() for name in self.nodes}

    @property
    def weighted_edges(self) -> float:
        """Edges on a path from input to logits, each counted as the share of its writer's neurons that is kept.

        The size that MIB gives circuits of edges, nodes and neurons in common.
        """
        shares = self.neurons.double().mean(dim=1)
        return float(shares @ self.circuit.without_dangling().mask.double().sum(dim=1))

    @property
    def has_path(self) -> bool:
        """Whether a path leads from an input writer to `logits`."""
        return self.circuit.has_path

    def without_dangling(self) -> NeuronCircuit:
        """The circuit without neurons of writers that lie on no path from an input writer to `logits`.

        That changes nothing it computes: a node that no input writer reaches outputs its replacement (law 7).
        """
        on_path = self.circuit.without_dangling().mask.any(dim=1)
        return NeuronCircuit(self.graph, self.neurons & on_path[:, None], self.provenance)

    # -- set algebra ------------------------------------------------------------------------------------------------

    def __or__(self, other: NeuronCircuit) -> NeuronCircuit:
        return NeuronCircuit(self.graph, self.neurons | self._like(other).neurons)

    def __and__(self, other: NeuronCircuit) -> NeuronCircuit:
        return NeuronCircuit(self.graph, self.neurons & self._like(other).neurons)

    def __sub__(self, other: NeuronCircuit) -> NeuronCircuit:
        return NeuronCircuit(self.graph, self.neurons & ~self._like(other).neurons)

    def __xor__(self, other: NeuronCircuit) -> NeuronCircuit:
        return NeuronCircuit(self.graph, self.neurons ^ self._like(other).neurons)

    def __le__(self, other: NeuronCircuit) -> bool:
        return not len(self - other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NeuronCircuit):
            return NotImplemented
        return self.graph == other.graph and torch.equal(self.neurons, other.neurons)

    def __hash__(self) -> int:
        return hash((self.graph, self.neurons.numpy().tobytes()))

    def __len__(self) -> int:
        return int(self.neurons.sum())

    def jaccard(self, other: NeuronCircuit) -> float:
        """Shared neurons over all neurons of the two circuits; 1.0 when both are empty."""
        union = len(self | other)
        return len(self & other) / union if union else 1.0

    def _like(self, other: NeuronCircuit) -> NeuronCircuit:
        if self.graph != other.graph or self.d_model != other.d_model:
            sides = (f"{one.graph} with {one.d_model} neurons a writer" for one in (self, other))
            raise GraphMismatch(f"circuits of different graphs: {' and '.join(sides)}")
        return other

    def with_provenance(self, **entries: Any) -> NeuronCircuit:
        """The same circuit with entries added to its provenance."""
        return NeuronCircuit(self.graph, self.neurons, {**self.provenance, **entries})

    # -- text -------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """One line: how many neurons out of how many, of how many writers, and whether the circuit is connected."""
        share = f"{len(self):,} of {self.n_neurons:,} neurons ({len(self) / self.n_neurons:.2%})"
        path = "" if self.has_path else "; no path from input to logits"
        return f"{share}, of {len(self.nodes)} of {len(self.graph.writers)} writers{path}"

    def _repr_html_(self) -> str | None:
        return rich(self)

    def __repr__(self) -> str:
        return f"<NeuronCircuit: {self.describe()}>"


@final
class NeuronScores:
    """One float for each neuron: positive means that it helps.

    The predicted drop of the metric when that coordinate of a writer's output is replaced for all its readers: mean over
    examples, summed over positions. `values` is float32 [writer, d_model].
    """

    def __init__(self, graph: Graph, values: Tensor, provenance: Mapping[str, Any] | None = None) -> None:
        _check_shape(graph, values)
        values = values.detach().to("cpu", torch.float32)
        if bool(values.isnan().any()):
            writer, place = (int(i) for i in values.isnan().nonzero()[0])
            raise NumericalError(f"the score of neuron {place} of {graph.writers[writer]} is NaN")
        self.graph = graph
        self.values = values
        self.provenance: Mapping[str, Any] = MappingProxyType(dict(provenance or {}))

    def __getitem__(self, writer: str) -> Tensor:
        """The scores of one writer's neurons, [d_model]."""
        if writer not in self.graph.writer_index:
            raise UnknownName.of("writer", writer, self.graph.writers)
        return self.values[self.graph.writer_index[writer]]

    def __len__(self) -> int:
        return self.values.numel()

    def top(self, n: int, *, absolute: bool = True) -> NeuronCircuit:
        """The n neurons with the largest score, by absolute value unless `absolute=False`; ties in index order.

        Those of the input writers count like all others, as in MIB. Exactly n: `without_dangling()` drops those of writers
        on no path. `top(0)` keeps nothing.
        """
        if not 0 <= n <= len(self):
            raise InvalidValue(f"asked for {n:,} neurons, the graph has {len(self):,}; give 0 to that many")
        order = self._ranking(absolute).flatten().sort(descending=True, stable=True).indices
        kept = torch.zeros(len(self), dtype=torch.bool)
        kept[order[:n]] = True
        return self._circuit(kept.view_as(self.values), {"select": "top", "neurons": n, "absolute": absolute})

    def above(self, threshold: float, *, absolute: bool = True) -> NeuronCircuit:
        """The neurons whose score, by absolute value unless `absolute=False`, is at least `threshold`."""
        if threshold != threshold:
            raise InvalidValue("the threshold is nan: nothing can be compared with it")
        selection = {"select": "above", "threshold": threshold, "absolute": absolute}
        return self._circuit(self._ranking(absolute) >= threshold, selection)

    def _ranking(self, absolute: bool) -> Tensor:
        return self.values.abs() if absolute else self.values

    def _circuit(self, kept: Tensor, selection: dict[str, Any]) -> NeuronCircuit:
        return NeuronCircuit(self.graph, kept, {**self.provenance, "selection": selection})

    def __repr__(self) -> str:
        return f"<NeuronScores: {self.provenance.get('method', 'scores')}, {len(self):,} neurons on {self.graph}>"


def _check_shape(graph: Graph, values: Tensor) -> None:
    if values.ndim != 2 or len(values) != len(graph.writers) or not values.shape[1]:
        raise GraphMismatch(f"neurons of shape {tuple(values.shape)}: the graph has {len(graph.writers)} writers")
