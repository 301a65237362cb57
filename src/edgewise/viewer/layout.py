"""Where everything goes: pure positions of a circuit's picture, in pixels, y downwards.

Layers run bottom to top, each input writer is a bar below and `logits` a bar above. Each layer has two rows: its heads, by
column, and its MLP, in a column of its own on the right, so that MLP-to-MLP edges can run as arcs beside the heads.
Edges enter a head at its q, k and v ports; with grouped key and value heads, k and v sit on a bar under the heads that
share them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

from edgewise.circuit import Circuit
from edgewise.graph import Graph, layer_of

LAYOUT_MARGIN, LABELS = 28.0, 34.0
BOX, BAR, GAP = (50.0, 20.0), 22.0, 12.0
MANY = 450
# How far above its heads an MLP is drawn: less than half a row, because its edges to the next heads run flat.
MLP_RISE = 0.43
PORT_OFFSETS = {"q": -14.0, "k": 0.0, "v": 14.0}


@final
@dataclass(frozen=True)
class Position:
    """A place in the picture."""

    x: float
    y: float


@final
@dataclass(frozen=True)
class Box:
    """A node: its centre, its size, and whether the circuit has it."""

    name: str
    x: float
    y: float
    width: float
    height: float
    kept: bool

    @property
    def top(self) -> float:
        """The upper side, where edges leave."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """The lower side, where edges enter."""
        return self.y + self.height / 2

    @property
    def right(self) -> float:
        """The right side, where arcs between MLPs leave and enter."""
        return self.x + self.width / 2


@final
@dataclass(frozen=True)
class Layout:
    """Positions of nodes, ports, bars of shared k and v, and layer bands; `column` is the distance between heads."""

    width: float
    height: float
    column: float
    row: float
    boxes: dict[str, Box]
    ports: dict[str, Position]
    bars: tuple[Box, ...] = field(default=())
    bands: tuple[Box, ...] = field(default=())


@final
@dataclass(frozen=True)
class Grid:
    """The rows and columns that are drawn, and the distances between them."""

    graph: Graph
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    column: float
    row: float

    @property
    def mlp_x(self) -> float:
        """Centre of the MLP column."""
        return self.x(len(self.heads)) + 14

    @property
    def arcs(self) -> float:
        """Room for the arcs on the right of the MLP column."""
        return 40 + min(110.0, 9.0 * len(self.layers)) if self.graph.mlps else 16

    @property
    def height(self) -> float:
        """Height of the drawing."""
        return self.row * (len(self.layers) + 1) + 2 * BAR + 8

    def x(self, place: int) -> float:
        """Centre of the column at a place."""
        return LAYOUT_MARGIN + LABELS + self.column * (place + 0.5)

    def y(self, place: int) -> float:
        """Centre of the heads' row at a place, counted from below."""
        return self.height - BAR - self.row * (place + 0.7)


def arrange(circuit: Circuit) -> Layout:
    """The positions for a circuit; large graphs show only the layers and head columns that it uses."""
    grid = _grid(circuit)
    kept = frozenset(circuit.nodes)
    boxes = {box.name: box for box in (*_bars(grid, circuit), *_nodes(grid, kept))}
    bars = tuple(_shared(grid, circuit)) if circuit.graph.kv_heads != circuit.graph.heads else ()
    return Layout(
        width=_right(grid) + grid.arcs + LAYOUT_MARGIN,
        height=grid.height,
        column=grid.column,
        row=grid.row,
        boxes=boxes,
        ports=dict(_ports(grid, circuit.graph)),
        bars=bars,
        bands=tuple(_bands(grid)),
    )


def _grid(circuit: Circuit) -> Grid:
    graph = circuit.graph
    layers, heads = tuple(range(graph.layers)), tuple(range(graph.heads))
    if len(graph.writers) > MANY:
        used = [name for name in circuit.nodes if name not in graph.inputs]
        layers = tuple(sorted({layer_of(name) for name in used})) or layers[:1]
        group = graph.heads // graph.kv_heads
        groups = {int(name.split(".h")[1]) // group for name in used if ".h" in name}
        heads = tuple(head for head in heads if head // group in groups) or heads[:group]
    column = min(92.0, max(60.0, 860 / len(heads)))
    return Grid(graph, layers, heads, column, min(132.0, max(96.0, 1150 / len(layers))))


def _right(grid: Grid) -> float:
    return grid.mlp_x + BOX[0] / 2 if grid.graph.mlps else grid.x(len(grid.heads) - 1) + grid.column / 2


def _bars(grid: Grid, circuit: Circuit) -> Iterator[Box]:
    left, right = LAYOUT_MARGIN + LABELS, _right(grid)
    x, width = (left + right) / 2, right - left
    inputs = circuit.graph.inputs
    each = (width - GAP * (len(inputs) - 1)) / len(inputs)
    for number, name in enumerate(inputs):
        centre = left + each / 2 + number * (each + GAP)
        yield Box(name, centre, grid.height - BAR / 2 - 4, each, BAR, bool(circuit.mask[number].any()))
    yield Box("logits", x, BAR / 2 + 4, width, BAR, bool(circuit.mask[:, -1].any()))


def _nodes(grid: Grid, kept: frozenset[str]) -> Iterator[Box]:
    for place, layer in enumerate(grid.layers):
        for column, head in enumerate(grid.heads):
            name = f"a{layer}.h{head}"
            yield Box(name, grid.x(column), grid.y(place), *BOX, name in kept)
        if grid.graph.mlps:
            yield Box(f"m{layer}", grid.mlp_x, grid.y(place) - MLP_RISE * grid.row, *BOX, f"m{layer}" in kept)


def _ports(grid: Grid, graph: Graph) -> Iterator[tuple[str, Position]]:
    group = graph.heads // graph.kv_heads
    for place, layer in enumerate(grid.layers):
        y = grid.y(place) + BOX[1] / 2 + 3
        for column, head in enumerate(grid.heads):
            x = grid.x(column)
            yield f"a{layer}.h{head}<q>", Position(x + (PORT_OFFSETS["q"] if group == 1 else 0.0), y)
            if head % group == 0:
                middle, below = x + grid.column * (group - 1) / 2, y if group == 1 else y + 15
                key, value = (of(layer).start + head // group for of in (graph.k_readers, graph.v_readers))
                yield graph.readers[key], Position(middle + PORT_OFFSETS["k"] - (group > 1) * 9, below)
                yield graph.readers[value], Position(middle + PORT_OFFSETS["v"] - (group > 1) * 5, below)
        if grid.graph.mlps:
            yield f"m{layer}", Position(grid.mlp_x, grid.y(place) - MLP_RISE * grid.row + BOX[1] / 2)
    yield "logits", Position((LAYOUT_MARGIN + LABELS + _right(grid)) / 2, BAR + 4)


def _shared(grid: Grid, circuit: Circuit) -> Iterator[Box]:
    """One bar under each group of heads that share a key and a value."""
    graph, read = circuit.graph, circuit.mask.any(dim=0)
    group = graph.heads // graph.kv_heads
    for place, layer in enumerate(grid.layers):
        for column in range(0, len(grid.heads), group):
            kv = grid.heads[column] // group
            used = read[graph.k_readers(layer).start + kv] | read[graph.v_readers(layer).start + kv]
            middle, y = grid.x(column) + grid.column * (group - 1) / 2, grid.y(place) + BOX[1] / 2 + 14
            yield Box(f"a{layer}.kv{kv}", middle, y, grid.column * (group - 1) + BOX[0], 5, bool(used))


def _bands(grid: Grid) -> Iterator[Box]:
    width = _right(grid) + grid.arcs - LAYOUT_MARGIN
    for place, layer in enumerate(grid.layers):
        yield Box(str(layer), LAYOUT_MARGIN + width / 2, grid.y(place) - grid.row * 0.2, width, grid.row, True)
