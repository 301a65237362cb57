"""Positions: layers go up, heads keep their column, nothing overlaps, nothing leaves the picture."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from support.strategies import circuits

from edgewise.circuit import Circuit
from edgewise.graph import SEPARATE_INPUTS, Graph
from edgewise.viewer.beziers import curve
from edgewise.viewer.layout import Box, arrange


def overlap(a: Box, b: Box) -> bool:
    return abs(a.x - b.x) < (a.width + b.width) / 2 and abs(a.y - b.y) < (a.height + b.height) / 2


@given(circuits())
def test_nothing_overlaps_and_every_end_has_a_place(circuit: Circuit) -> None:
    layout = arrange(circuit)
    assert set(layout.boxes) == {*circuit.graph.writers, "logits"}
    assert set(layout.ports) == set(circuit.graph.readers)
    assert not any(overlap(a, b) for a, b in combinations(layout.boxes.values(), 2))
    assert len({(p.x, p.y) for p in layout.ports.values()}) == len(layout.ports)


@given(circuits())
def test_everything_is_inside_and_edges_go_up(circuit: Circuit) -> None:
    layout = arrange(circuit)
    for box in layout.boxes.values():
        assert box.x - box.width / 2 >= 0
        assert box.right <= layout.width
        assert 0 <= box.top < box.bottom <= layout.height
    for edge in circuit.graph.edges:
        points = curve(layout, *edge.split("->"))
        assert points[0].y > points[-1].y, edge
        assert all(-1 <= p.y <= layout.height + 1 for p in points)
        # A Bézier curve stays within three quarters of its control points' overshoot.
        assert max(p.x for p in (points[0], points[-1])) <= layout.width
        assert 0.125 * (points[0].x + points[3].x) + 0.375 * (points[1].x + points[2].x) <= layout.width


@given(circuits())
def test_edges_leave_the_input_they_come_from(circuit: Circuit) -> None:
    layout = arrange(circuit)
    for edge in circuit.graph.edges:
        writer, reader = edge.split("->")
        if writer in circuit.graph.inputs:
            box = layout.boxes[writer]
            assert abs(curve(layout, writer, reader)[0].x - box.x) <= box.width / 2


def test_separate_inputs_share_the_row_below() -> None:
    boxes = arrange(Circuit.full(Graph(1, 2, 2, inputs=SEPARATE_INPUTS))).boxes
    assert boxes["input"].y == boxes["positions"].y > boxes["a0.h0"].y
    assert boxes["input"].right < boxes["positions"].x - boxes["positions"].width / 2
    assert boxes["positions"].right == pytest.approx(boxes["logits"].right)


def test_layers_are_rows_and_heads_are_columns() -> None:
    boxes = arrange(Circuit.full(Graph(3, 4, 4))).boxes
    assert boxes["input"].y > boxes["a0.h0"].y > boxes["m0"].y > boxes["a1.h0"].y > boxes["m2"].y > boxes["logits"].y
    assert boxes["a0.h2"].x == boxes["a2.h2"].x
    assert boxes["a0.h1"].x < boxes["a0.h2"].x < boxes["m0"].x
    assert boxes["a1.h0"].y == boxes["a1.h3"].y


def test_shared_keys_and_values_sit_under_the_middle_of_their_group() -> None:
    layout = arrange(Circuit.full(Graph(1, 4, 2)))
    boxes, ports = layout.boxes, layout.ports
    assert (ports["a0.kv1<k>"].x + ports["a0.kv1<v>"].x) / 2 == pytest.approx((boxes["a0.h2"].x + boxes["a0.h3"].x) / 2)
    assert len(layout.bars) == 2


def test_large_graphs_show_only_the_layers_and_heads_in_use() -> None:
    graph = Graph(32, 32, 8)
    circuit = Circuit.from_edges(graph, ["input->a5.h9<q>", "a5.h9->a20.h1<v>", "a20.h4->m31", "m31->logits"])
    layout = arrange(circuit)
    assert [band.name for band in layout.bands] == ["5", "20", "31"]
    assert layout.width < 1200
    assert all(name in layout.boxes for name in circuit.nodes)
    assert len(arrange(Circuit(graph, graph.edge_mask & False)).bands) == 1
