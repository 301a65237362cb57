"""Programs: transformers written down by hand, of which every edge that matters is known.

The residual stream of a program is divided into *spaces*. An input writer, a head or an MLP writes to one space, and says
from which spaces it reads. A writer and a later reader are an edge of the true circuit exactly if the reader reads the
space that the writer writes to: that is all there is to the reference, and it stands beside the weights.

What a program leaves free is filled with random weights when a model is made of it: whole heads and MLPs, and the parts of
its own nodes that it does not need. They read from everywhere, and write to a space called `noise` that neither the
program nor the unembedding reads. So no edge outside the reference changes the logits, whatever replaces it. A program may
let them `leak`: then they write to all spaces, that much weaker, and edges outside the reference matter a little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from edgewise.circuit import Circuit, live_writers
from edgewise.graph import SEPARATE_INPUTS, Graph

NOISE = "noise"


@final
@dataclass(frozen=True, eq=False)
class Read:
    """`weight` [row, width of the space] times what stands in `space`."""

    space: str
    weight: Tensor


@final
@dataclass(frozen=True, eq=False)
class Head:
    """A head: attends by query · key (evenly, where there are none), and writes the values it finds to the space `to`."""

    layer: int
    head: int
    value: Read
    to: str
    query: Read | None = None
    key: Read | None = None

    @property
    def name(self) -> str:
        """The writer's name."""
        return f"a{self.layer}.h{self.head}"

    @property
    def reads(self) -> dict[str, tuple[Read, ...]]:
        """Reader → what it reads."""
        sides = {"q": self.query, "k": self.key, "v": self.value}
        return {f"{self.name}<{side}>": () if read is None else (read,) for side, read in sides.items()}


@final
@dataclass(frozen=True, eq=False)
class Neurons:
    """An MLP: writes `write` · relu(Σ reads + `bias`) + `shift` to the space `to`; `write` is [width, neuron]."""

    layer: int
    inputs: tuple[Read, ...]
    bias: Tensor
    write: Tensor
    shift: Tensor
    to: str

    @property
    def name(self) -> str:
        """The writer's name, and the reader's."""
        return f"m{self.layer}"

    @property
    def reads(self) -> dict[str, tuple[Read, ...]]:
        """Reader → what it reads."""
        return {self.name: self.inputs}


@final
@dataclass(frozen=True, eq=False)
class Program:
    """A program: its vocabulary `words`, the shape of its model, and its nodes with their weights.

    `tokens` [word, width] is what `input` writes to the space "token"; `positions` [position, width] what `positions`
    writes to "position"; `unembed` reads the logits. `spaces` gives the width of every space. `leak` is how large what the
    random weights write to other spaces is, beside what they write to `noise`.
    """

    name: str
    summary: str
    words: tuple[str, ...]
    layers: int
    heads: int
    causal: bool
    spaces: Mapping[str, int]
    tokens: Tensor
    positions: Tensor
    nodes: tuple[Head | Neurons, ...]
    unembed: Read
    leak: float = 0.0

    @cached_property
    def graph(self) -> Graph:
        """The graph of the model."""
        return Graph(self.layers, self.heads, self.heads, inputs=SEPARATE_INPUTS)

    @cached_property
    def reference(self) -> Circuit:
        """The true circuit. Its provenance counts its edges, and lists those `unseen_by_resampling`.

        These carry what depends on positions alone, which are the same in every prompt of a length: replacing it by that of
        another prompt changes nothing; zeros, or averages over positions, do.
        """
        circuit = Circuit.from_edges(self.graph, self._edges())
        attention_inputs = {edge.split("->")[1] for edge in circuit.edges if edge.endswith(">")}
        return circuit.with_provenance(
            reference=self.name,
            model=self.name,
            edges=len(circuit),
            counted_edges=len(circuit) + len(attention_inputs),
            unseen_by_resampling=self._unseen(circuit),
        )

    def _unseen(self, circuit: Circuit) -> tuple[str, ...]:
        positions = self.graph.writer_index["positions"]
        without = circuit.mask.clone()
        without[positions] = False
        from_tokens = live_writers(self.graph, without)
        from_tokens[positions] = False
        return tuple(edge for edge in circuit.edges if not from_tokens[self.graph.edge_index(edge)[0]])

    def _edges(self) -> Iterator[str]:
        writes = {"input": "token", "positions": "position", **{node.name: node.to for node in self.nodes}}
        reads = {reader: read for node in self.nodes for reader, read in node.reads.items()} | {
            "logits": (self.unembed,)
        }
        for reader, parts in reads.items():
            spaces = {part.space for part in parts}
            yield from (f"{writer}->{reader}" for writer, space in writes.items() if space in spaces)


def one_hot(indices: list[int], width: int) -> Tensor:
    """float64 [row, width]: row i has a one at `indices[i]`; none where that is negative."""
    table = torch.zeros(len(indices), width, dtype=torch.float64)
    for row, index in enumerate(indices):
        if index >= 0:
            table[row, index] = 1
    return table
