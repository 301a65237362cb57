"""The residual-stream graph of a transformer: who writes, who reads, and which pairs are edges.

Index order (that of EAP-IG and MIB): writers are `input`, then per layer its heads and its MLP; readers are per layer
all q, all k, all v, then the MLP, and `logits` last. A reader reads every writer computed before it, so its edges are
always the first `reach(reader)` writers: a prefix, which is what makes the engine's matrix products dense. Keys and values
that heads share are readers of their own, `a3.kv1<k>`, so that nobody takes them for those of one head. Where token and
position embeddings are told apart there are two input writers, `input` (the tokens) and `positions`, before all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from edgewise.errors import InvalidValue, UnknownName
from edgewise.surroundings import neutrally

HEAD = re.compile(r"a(\d+)\.h(\d+)(?:<([qkv])>)?")
SHARED = re.compile(r"a(\d+)\.kv(\d+)<([kv])>")
MLP = re.compile(r"m(\d+)")
# What the input writers of a graph can be: one for all that enters layer 0, or one each for tokens and positions.
ONE_INPUT, SEPARATE_INPUTS = ("input",), ("input", "positions")


class ReaderPlace(NamedTuple):
    """Where a reader is: its layer, kind and number (`slot`) in the layer; `logits` is slot 0 after the last layer."""

    layer: int
    kind: Literal["q", "k", "v", "mlp", "logits"]
    slot: int


@final
@dataclass(frozen=True)
class Graph:
    """The graph of one model: writers, readers, and which pairs are edges; it never changes.

    `layers`, `heads`, `kv_heads`: how many layers, heads in each, and keys and values that these share.
    `parallel`: whether the MLP does not read the heads of its own layer (GPT-NeoX).
    `mlps`: False for attention-only models.
    `inputs`: the names of the input writers, ("input",) or ("input", "positions").

    >>> gpt2 = Graph(layers=12, heads=12, kv_heads=12)
    >>> gpt2.n_edges, len(gpt2.writers), len(gpt2.readers)
    (32491, 157, 445)
    """

    layers: int
    heads: int
    kv_heads: int
    parallel: bool = False
    mlps: bool = True
    inputs: tuple[str, ...] = ONE_INPUT

    def __post_init__(self) -> None:
        if self.inputs not in (ONE_INPUT, SEPARATE_INPUTS):
            raise InvalidValue(f"inputs must be {ONE_INPUT} or {SEPARATE_INPUTS}, not {self.inputs}")
        if min(self.layers, self.heads, self.kv_heads) < 1 or self.heads % self.kv_heads:
            raise InvalidValue(
                f"layers, heads and kv_heads must be at least 1, and kv_heads must divide heads; "
                f"got {self.layers}, {self.heads}, {self.kv_heads}"
            )

    @cached_property
    def writers(self) -> tuple[str, ...]:
        """Names of the writers in index order."""
        return (*self.inputs, *(name for layer in range(self.layers) for name in self._layer_writers(layer)))

    @cached_property
    def readers(self) -> tuple[str, ...]:
        """Names of the readers in index order."""
        return (*(name for layer in range(self.layers) for name in self._layer_readers(layer)), "logits")

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """Names of all edges, reader by reader in index order."""
        return tuple(self.edge_name(w, r) for r in range(len(self.readers)) for w in range(self.reach(r)))

    @cached_property
    def writer_index(self) -> dict[str, int]:
        """The index of each writer, by name."""
        return {name: i for i, name in enumerate(self.writers)}

    @cached_property
    def reader_index(self) -> dict[str, int]:
        """The index of each reader, by name."""
        return {name: i for i, name in enumerate(self.readers)}

    def edge_name(self, writer: int, reader: int) -> str:
        """The name of an edge, "writer->reader", from the indices `writer` and `reader`."""
        return f"{self.writers[writer]}->{self.readers[reader]}"

    def edge_index(self, edge: str) -> tuple[int, int]:
        """The (writer index, reader index) of a named `edge`; UnknownName if this graph has no such edge."""
        writer, arrow, reader = edge.partition("->")
        w, r = self.writer_index.get(writer), self.reader_index.get(self.current_name(reader))
        if not arrow or w is None or r is None:
            raise UnknownName(f"unknown edge {edge!r}: {self._unknown_part(edge, writer, reader)}")
        if w >= self.reach(r):
            raise UnknownName(f"unknown edge {edge!r}: {writer} is not computed before {reader}")
        return w, r

    def current_name(self, name: str) -> str:
        """The name of a reader or edge from a `name` of earlier versions, where shared k and v were named like heads.

        >>> Graph(layers=1, heads=4, kv_heads=2).current_name("input->a0.h1<v>")
        'input->a0.kv1<v>'
        """
        old = HEAD.fullmatch(name.rpartition("->")[2]) if self.kv_heads != self.heads else None
        if old is None or old[3] not in ("k", "v") or int(old[2]) >= self.kv_heads:
            return name
        return name[: -len(old[0])] + f"a{old[1]}.kv{old[2]}<{old[3]}>"

    @cached_property
    @neutrally
    def edge_mask(self) -> Tensor:
        """Which pairs are edges, bool [writer, reader]."""
        reach = torch.tensor([self.reach(r) for r in range(len(self.readers))])
        return torch.arange(len(self.writers))[:, None] < reach[None, :]

    @cached_property
    def n_edges(self) -> int:
        """How many edges there are."""
        return sum(self.reach(r) for r in range(len(self.readers)))

    @property
    def writers_per_layer(self) -> int:
        """How many writers a layer has: its heads and, if there is one, its MLP."""
        return self.heads + int(self.mlps)

    @property
    def readers_per_layer(self) -> int:
        """How many readers a layer has: its q, k and v readers and, if there is one, its MLP."""
        return self.heads + 2 * self.kv_heads + int(self.mlps)

    def writers_before(self, layer: int) -> int:
        """How many writers the attention of `layer` reads, which is the index of that layer's first head."""
        return len(self.inputs) + layer * self.writers_per_layer

    def reach(self, reader: int) -> int:
        """How many writers the reader of index `reader` reads; they are always the first ones."""
        place = self.place(reader)
        before = self.writers_before(place.layer)
        return before + self.heads if place.kind == "mlp" and not self.parallel else before

    def place(self, reader: int) -> ReaderPlace:
        """Where the reader of index `reader` is: its layer, kind and slot."""
        layer, slot = divmod(reader, self.readers_per_layer)
        if layer == self.layers:
            return ReaderPlace(layer, "logits", slot)
        if slot < self.heads:
            return ReaderPlace(layer, "q", slot)
        shared = (slot - self.heads) // self.kv_heads
        return ReaderPlace(layer, "k" if shared == 0 else "v" if shared == 1 else "mlp", slot)

    def head_writers(self, layer: int) -> slice:
        """The writer indices of the heads of `layer`."""
        start = self.writers_before(layer)
        return slice(start, start + self.heads)

    def mlp_writer(self, layer: int) -> int:
        """The writer index of the MLP of `layer`."""
        return self.writers_before(layer) + self.heads

    def q_readers(self, layer: int) -> slice:
        """The reader indices of the queries of `layer`."""
        start = layer * self.readers_per_layer
        return slice(start, start + self.heads)

    def k_readers(self, layer: int) -> slice:
        """The reader indices of the keys of `layer`, one for each kv-head."""
        start = layer * self.readers_per_layer + self.heads
        return slice(start, start + self.kv_heads)

    def v_readers(self, layer: int) -> slice:
        """The reader indices of the values of `layer`, one for each kv-head."""
        start = layer * self.readers_per_layer + self.heads + self.kv_heads
        return slice(start, start + self.kv_heads)

    def attention_readers(self, layer: int) -> slice:
        """The reader indices of q, k and v of `layer`, in this order."""
        start = layer * self.readers_per_layer
        return slice(start, start + self.heads + 2 * self.kv_heads)

    def mlp_reader(self, layer: int) -> int:
        """The reader index of the MLP of `layer`."""
        return layer * self.readers_per_layer + self.heads + 2 * self.kv_heads

    @cached_property
    @neutrally
    def serves(self) -> Tensor:
        """The writers that a reader takes part in computing, bool [reader, writer]; a k or v reader: its group's heads."""
        table = torch.zeros(len(self.readers), len(self.writers), dtype=torch.bool)
        group = self.heads // self.kv_heads
        for layer in range(self.layers):
            first = self.writers_before(layer)
            for head in range(self.heads):
                kv = head // group
                readers = (self.q_readers(layer).start + head, self.k_readers(layer).start + kv)
                table[[*readers, self.v_readers(layer).start + kv], first + head] = True
            if self.mlps:
                table[self.mlp_reader(layer), self.mlp_writer(layer)] = True
        return table

    def _layer_writers(self, layer: int) -> Iterator[str]:
        yield from (f"a{layer}.h{head}" for head in range(self.heads))
        if self.mlps:
            yield f"m{layer}"

    def _layer_readers(self, layer: int) -> Iterator[str]:
        yield from (f"a{layer}.h{head}<q>" for head in range(self.heads))
        kv = "h" if self.kv_heads == self.heads else "kv"
        yield from (f"a{layer}.{kv}{head}<{kind}>" for kind in "kv" for head in range(self.kv_heads))
        if self.mlps:
            yield f"m{layer}"

    def _unknown_part(self, edge: str, writer: str, reader: str) -> str:
        if "->" not in edge:
            return "an edge is written writer->reader, for example 'a0.h1->a3.h7<q>' or 'm0->logits'"
        if writer not in self.writer_index:
            return str(UnknownName.of("writer", writer, self.writers))
        if HEAD.fullmatch(reader) and node_of(reader) in self.writer_index:
            q, k, v = self.serves[:, self.writer_index[node_of(reader)]].nonzero().flatten().tolist()
            return f"say which input of the head: {self.readers[q]}, {self.readers[k]} or {self.readers[v]}"
        return str(UnknownName.of("reader", reader, self.readers))

    def __str__(self) -> str:
        grouped = f" ({self.kv_heads} kv)" if self.kv_heads != self.heads else ""
        separate = ("separate positions", self.inputs == SEPARATE_INPUTS)
        known = (("parallel", self.parallel), ("attention only", not self.mlps), separate)
        traits = [trait for trait, on in known if on]
        return f"{', '.join([f'{self.layers} layers, {self.heads} heads{grouped}', *traits])}: {self.n_edges:,} edges"


def layer_of(node: str) -> int:
    """The layer of a head or MLP, writer or reader; -1 for an input writer, a very large number for `logits`."""
    if match := HEAD.fullmatch(node) or SHARED.fullmatch(node) or MLP.fullmatch(node):
        return int(match[1])
    return -1 if node in SEPARATE_INPUTS else 1 << 30


def node_of(reader: str) -> str:
    """The node a reader belongs to: `a3.h7<q>` → `a3.h7`; a shared key or value belongs to several (`Graph.serves`)."""
    return reader.split("<")[0]
