"""Circuit: a set of edges of a Graph, or of neurons with the edges between their writers, with its provenance.

A neuron is one of the d_model coordinates of what a writer puts out, as in the EAP-IG library and MIB, not a hidden
unit of an MLP. Readers get clean values at the kept coordinates, and what the ablation says at all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, final

import torch
from torch import Tensor

from edgewise.arguments import typed_methods
from edgewise.display import rich
from edgewise.errors import InvalidValue
from edgewise.graph import Graph
from edgewise.neurons import SetOfKept, check_neurons, check_width, checked_mask, edges_between, named_neurons
from edgewise.reachability import each_path, live_writers, mask_without, path_name, useful_readers, writers_named
from edgewise.surroundings import neutrally

Facts = Mapping[str, Any] | None


@final
@typed_methods
class Circuit(SetOfKept):
    """A set of edges of a Graph, or of its neurons: immutable, comparable, with the operations of sets.

    `graph`: the graph whose edges these are.
    `mask`: bool [writer, reader], the kept edges; of neurons all edges between writers with a kept one.
    `provenance`: a read-only mapping that says where the circuit comes from.
    `neurons`: bool [writer, d_model], or None for a circuit of edges.
    Raises GraphMismatch for a mask of another shape, InvalidValue for one with pairs that are no edges. The operations
    `|`, `&`, `-`, `^`, `<=` and `len` are those of sets; two circuits need the same graph and level.

    >>> circuit = Circuit.from_edges(Graph(layers=1, heads=2, kv_heads=2), ["input->a0.h1<q>", "a0.h1->logits"])
    >>> len(circuit), circuit.nodes, "a0.h1->logits" in circuit
    (2, ('input', 'a0.h1'), True)
    """

    @neutrally
    def __init__(self, graph: Graph, mask: Tensor, provenance: Facts = None, *, neurons: Tensor | None = None) -> None:
        self.graph = graph
        self.mask = checked_mask(graph, mask)
        self.neurons = None if neurons is None else neurons.detach().bool().cpu().clone()
        self.provenance: Mapping[str, Any] = MappingProxyType(dict(provenance or {}))

    @classmethod
    def from_edges(cls, graph: Graph, edges: Iterable[str], provenance: Facts = None) -> Circuit:
        """The circuit of the named `edges` of a `graph`, with `provenance`; UnknownName for an edge that it lacks."""
        mask = torch.zeros_like(graph.edge_mask)
        for edge in edges:
            mask[graph.edge_index(edge)] = True
        return cls(graph, mask, provenance)

    @classmethod
    def from_nodes(cls, graph: Graph, nodes: Sequence[str], provenance: Facts = None) -> Circuit:
        """The circuit of all edges of a `graph` between the heads and MLPs named in `nodes`, its input and its logits.

        `provenance` goes with it. Raises UnknownName for a node that the graph lacks.
        """
        return cls(graph, edges_between(graph, writers_named(graph, nodes, graph.inputs)), provenance)

    @classmethod
    def of_neurons(cls, graph: Graph, neurons: Tensor, provenance: Facts = None) -> Circuit:
        """The circuit of `neurons` of a `graph`, bool [writer, d_model], and all edges between them, with `provenance`."""
        check_neurons(graph, neurons)
        return cls(graph, edges_between(graph, neurons.bool().any(dim=1).cpu()), provenance, neurons=neurons)

    @classmethod
    def from_indices(
        cls, graph: Graph, d_model: int, neurons: Mapping[str, Iterable[int]], provenance: Facts = None
    ) -> Circuit:
        """The circuit of the `neurons` (writer name → coordinates below `d_model`) of a `graph`, with `provenance`."""
        return cls.of_neurons(graph, named_neurons(graph, d_model, neurons), provenance)

    @classmethod
    def full(cls, graph: Graph, d_model: int | None = None) -> Circuit:
        """The circuit of all edges of `graph`, or with `d_model` of all its neurons."""
        if d_model is None:
            return cls(graph, graph.edge_mask)
        check_width(d_model)
        return cls.of_neurons(graph, torch.ones(len(graph.writers), d_model, dtype=torch.bool, device="cpu"))

    @property
    def level(self) -> Literal["edges", "neurons"]:
        """What the circuit is a set of: "edges" or "neurons"."""
        return "edges" if self.neurons is None else "neurons"

    @property
    def kept(self) -> Tensor:
        """What the circuit keeps, bool: edges [writer, reader], or neurons [writer, d_model]."""
        return self.mask if self.neurons is None else self.neurons

    @property
    def total(self) -> int:
        """How many edges, or neurons, the graph has, kept or not."""
        return self.graph.n_edges if self.neurons is None else self.neurons.numel()

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """The names of the kept edges, reader by reader in index order."""
        return tuple(self.graph.edge_name(int(w), int(r)) for r, w in self.mask.T.nonzero())

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The names of the writers with a kept neuron, or a kept edge out of them or into one of their readers."""
        has_input = (self.graph.serves.T.float() @ self.mask.any(dim=0).float()) > 0
        touched = self.mask.any(dim=1) | has_input if self.neurons is None else self.neurons.any(dim=1)
        return tuple(name for name, is_in in zip(self.graph.writers, touched.tolist(), strict=True) if is_in)

    @cached_property
    def circuit(self) -> Circuit:
        """Its edges alone, as a circuit of edges; the provenance keeps the number of neurons."""
        if self.neurons is None:
            return self
        counts = {"kept": len(self), "total": self.total}
        known = self.provenance.get("neurons")
        facts = {**self.provenance, "neurons": {**(known if isinstance(known, Mapping) else {}), **counts}}
        return Circuit(self.graph, self.mask, facts)

    @property
    def d_model(self) -> int:
        """How many neurons each writer has; InvalidValue for a circuit of edges."""
        return self._the_neurons().shape[1]

    @property
    def n_neurons(self) -> int:
        """How many neurons the graph has, kept or not; InvalidValue for a circuit of edges."""
        return self._the_neurons().numel()

    @property
    def indices(self) -> dict[str, list[int]]:
        """The kept coordinates of each writer that has any, by name; InvalidValue for a circuit of edges."""
        neurons = self._the_neurons()
        return {name: neurons[self.graph.writer_index[name]].nonzero().flatten().tolist() for name in self.nodes}

    @property
    def weighted_edges(self) -> float:
        """The size in MIB: edges, of neurons those on a path, each weighed by the kept share of its writer's neurons."""
        if self.neurons is None:
            return float(len(self))
        shares = self.neurons.double().mean(dim=1)
        return float(shares @ self.circuit.without_dangling().mask.double().sum(dim=1))

    def _the_neurons(self) -> Tensor:
        if self.neurons is None:
            raise InvalidValue("this is a circuit of edges: it has no neurons")
        return self.neurons

    # -- dangling edges ---------------------------------------------------------------------------------------------

    def without_dangling(self) -> Circuit:
        """The circuit without edges, or neurons, that lie on no path from an input writer to `logits`.

        A head is one node: an edge into its q keeps the edges out of it. What the circuit computes stays the same (law
        7).
        """
        live = self.mask & self.live_writers[:, None]
        on_path = live & useful_readers(self.graph, live)[None, :]
        return self._with(on_path if self.neurons is None else self.neurons & on_path.any(dim=1)[:, None])

    def without(self, *removed: str) -> Circuit:
        """The circuit without the `removed` edges, and without all edges out of and into removed heads and MLPs.

        Of a circuit of neurons only nodes can be left out. Raises UnknownName for what the graph lacks.
        """
        mask = mask_without(self.graph, self.mask, removed)
        facts = {**self.provenance, "without": [*self.provenance.get("without", ()), *removed]}
        if self.neurons is None:
            return self._with(mask, facts)
        if wrong := [name for name in removed if name not in self.graph.writer_index]:
            raise InvalidValue(f"a circuit of neurons has no part {wrong[0]!r} of its own; leave out heads and MLPs")
        return self._with(self.neurons & ~writers_named(self.graph, removed)[:, None], facts)

    def paths(self, start: str = "input", end: str = "logits", *, limit: int = 100) -> tuple[str, ...]:
        """The paths of the circuit from the node `start` to the node or reader `end`, at most `limit`, the shortest first.

        A path is text that `effects` takes, "input->a3.h1<v>->m5->logits". Raises UnknownName for an unknown node.
        """
        if limit < 1:
            raise InvalidValue(f"limit={limit}: ask for at least 1 path")
        found = islice(each_path(self.graph, self.mask, start, end), limit)
        return tuple(path_name(self.graph, path) for path in found)

    @cached_property
    def live_writers(self) -> Tensor:
        """The writers that an input writer reaches over kept edges, bool [writer]; all others output their replacement."""
        return live_writers(self.graph, self.mask)

    @property
    def has_path(self) -> bool:
        """Whether a path leads from an input writer to `logits`."""
        return bool((self.mask[:, -1] & self.live_writers).any())

    def __contains__(self, edge: str) -> bool:
        return bool(self.mask[self.graph.edge_index(edge)])

    def jaccard(self, other: Circuit) -> float:
        """The share of the edges (or neurons) of this circuit and of `other` that both have; 1.0 if both are empty."""
        union = len(self | other)
        return len(self & other) / union if union else 1.0

    def with_provenance(self, **entries: Any) -> Circuit:
        """The same circuit with `entries` added to its provenance."""
        return Circuit(self.graph, self.mask, {**self.provenance, **entries}, neurons=self.neurons)

    def _with(self, kept: Tensor, provenance: Mapping[str, Any] | None = None) -> Circuit:
        """One of the same level that keeps these."""
        make = Circuit if self.neurons is None else Circuit.of_neurons
        return make(self.graph, kept, self.provenance if provenance is None else provenance)

    # -- text -------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """One line that says how large the circuit is, how many nodes it has, and whether it has a path."""
        share = f"{len(self):,} of {self.total:,} {self.level} ({len(self) / self.total:.2%}), "
        nodes = f"{'' if self.neurons is None else 'of '}{len(self.nodes)} of {len(self.graph.writers)} writers"
        return share + nodes + ("" if self.has_path else "; no path from input to logits")

    def _repr_html_(self) -> str | None:
        return rich(self)

    def __repr__(self) -> str:
        return f"<{'Circuit' if self.neurons is None else 'NeuronCircuit'}: {self.describe()}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Circuit, neurons=self.neurons), (self.graph, self.mask, dict(self.provenance))
