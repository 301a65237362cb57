"""Figures: their numbers beside scipy, direct runs and sums by hand; their pictures the same every time."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import linregress
from support.families import LINEAR, corrupted_run, make_subject, pairs, random_circuit, subject

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.engine.forward import masked_forward
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.figures import (
    Line,
    Panel,
    draw_histograms,
    draw_interpolations,
    draw_panels,
    draw_roles,
    draw_scatters,
    groups_by_layer,
    histogram,
    interpolate,
    pictures,
    roles,
    scatter,
    worst_predicted,
)
from edgewise.figures.curves import styles
from edgewise.figures.interpolation import Interpolation
from edgewise.metrics import METRICS, Answers, metric
from edgewise.models import Subject
from edgewise.progress import silent
from edgewise.request import Request
from edgewise.store.files import from_edge_values

GRAPH = ew.Graph(layers=1, heads=1, kv_heads=1)


def some_scores(*values: float) -> ew.Scores:
    by_edge = dict(zip(GRAPH.edges, values, strict=True))
    return ew.Scores(GRAPH, from_edge_values(GRAPH, by_edge), {"method": "mine", "metric": "logit_diff"})


def request(on: Subject, *, batch_size: int = 2, name: str = "logit_diff") -> Request:
    return Request(on, pairs(), metric(name), ablation("corrupted"), batch_size, silent)


# -- scores against effects -------------------------------------------------------------------------------------------


def test_the_line_is_that_of_least_squares() -> None:
    on = subject("gpt2")
    scores, exact = (ew.attribute(on, pairs(), method=name) for name in ("eap", "exact"))
    found = scatter(scores, exact)
    assert found.scores == pytest.approx([scores[edge] for edge in on.graph.edges])
    assert found.effects == pytest.approx([exact[edge] for edge in on.graph.edges])
    expected = linregress(found.scores, found.effects)
    assert (found.slope, found.intercept) == pytest.approx((expected.slope, expected.intercept))
    assert found.r2 == pytest.approx(expected.rvalue**2)


def test_a_perfect_prediction_lies_on_the_diagonal() -> None:
    scores = some_scores(1, -2, 3, 0, 0.5, 2, -1, 4)
    found = scatter(scores, scores)
    assert (found.slope, found.intercept, found.r2) == pytest.approx((1, 0, 1))
    assert found.to_dict() == {"name": "mine", "metric": "logit_diff", "edges": 8, "slope": 1, "intercept": 0, "r2": 1}


def test_scores_that_are_all_alike_have_no_line() -> None:
    assert np.isnan(scatter(some_scores(*[1.0] * 8), some_scores(*range(8))).r2)


def test_what_predicts_nothing_has_no_scatter() -> None:
    with pytest.raises(InvalidValue, match="those of a search"):
        scatter(some_scores(*[torch.inf] * 8), some_scores(*range(8)))
    with pytest.raises(GraphMismatch):
        scatter(some_scores(*range(8)), ew.attribute(subject("gpt2"), pairs(), method="random"))


# -- interpolation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logit_diff", "kl"])
def test_a_curve_ends_in_the_exact_effect_and_passes_through_masked_runs(name: str) -> None:
    on, of = subject("gpt2"), pairs()
    exact = ew.attribute(on, of, method="exact", metric=name)
    edges = exact.top(3).edges
    for curve in interpolate(request(on, name=name), exact, edges, shares=(0.0, 0.25, 1.0)):
        assert curve.effects[0] == pytest.approx(0, abs=1e-5)
        assert curve.effect == pytest.approx(exact[curve.edge], abs=1e-5)
        mask = on.graph.edge_mask.float()
        mask[on.graph.edge_index(curve.edge)] = 0.75
        clean = on.logits(of.clean, of.positions)
        moved = masked_forward(on, of.clean, of.positions, mask, corrupted_run(on, of))
        answers = Answers(of.correct, of.wrong)
        before, after = (METRICS[name].objective(logits, answers, clean).mean() for logits in (clean, moved))
        assert curve.effects[1] == pytest.approx(float(before - after), abs=1e-5)


def test_the_curve_sets_out_along_the_line_of_eap() -> None:
    on = subject("gpt2", torch.float64)
    eap = ew.attribute(on, pairs(), method="eap")
    for curve in interpolate(request(on), eap, eap.top(4).edges, shares=(0.0, 1e-5, 1.0)):
        assert curve.effects[1] / 1e-5 == pytest.approx(curve.score, rel=1e-3)


def test_on_a_linear_model_the_curve_is_the_line() -> None:
    on = make_subject(LINEAR, dtype=torch.float64)
    eap = ew.attribute(on, pairs(), method="eap")
    for curve in interpolate(request(on), eap, eap.top(3).edges):
        assert curve.shape == "straight"
        assert curve.overestimate == pytest.approx(0, abs=1e-6)
        assert curve.effects == pytest.approx([share * curve.score for share in curve.shares], abs=1e-6)


def test_curves_do_not_depend_on_the_batch_size() -> None:
    on = subject("gpt2")
    eap = ew.attribute(on, pairs(), method="eap")
    small, large = (interpolate(request(on, batch_size=size), eap, eap.top(2).edges) for size in (1, 5))
    for a, b in zip(small, large, strict=True):
        assert a.effects == pytest.approx(b.effects, abs=1e-5)


@pytest.mark.parametrize(
    ("effects", "score", "shape", "overestimate"),
    [
        ((0, 0.75, 1.0), 2.0, "concave", 1.0),  # slows down: the first slope promises more
        ((0, 0.25, 1.0), 0.1, "convex", -0.9),
        ((0, 0.5, 1.0), 1.0, "straight", 0.0),
        ((0, -0.75, -1.0), -2.0, "concave", 1.0),  # the same for an edge that hurts
        ((0, 0.1, 0.6, 0.9, 1.0), 0.2, "mixed", -0.8),
        ((0, 0.0, 0.0), 0.5, "straight", 0.5),
        ((0, -0.2, 0.5), -1.4, "concave", 1.9),  # sets out to hurt, ends up helping: the score promises 1.9 too much
        ((0, 0.0, 2.5), -0.1, "convex", -2.6),
    ],
)
def test_shapes(effects: tuple[float, ...], score: float, shape: str, overestimate: float) -> None:
    shares = tuple(i / (len(effects) - 1) for i in range(len(effects)))
    curve = Interpolation("m0->logits", "logit_diff", shares, effects, score)
    assert (curve.shape, curve.overestimate) == (shape, pytest.approx(overestimate))
    assert json.dumps(curve.to_dict())


def test_the_worst_predicted_edges_are_those_furthest_off_on_both_sides() -> None:
    exact = some_scores(1, 1, 1, 1, 1, 1, 1, 1)
    scores = some_scores(1, 5, -3, 2, 0.9, 0.1, -0.5, 1)
    # Beyond the effect by 0, 4, 4, 1; short of it by .1, .9, 1.5, 0.
    worst = [GRAPH.edges.index(edge) for edge in worst_predicted(scores, exact, 4)]
    assert sorted(worst[:2]) == [1, 2]
    assert worst[2:] == [5, 6]


def test_shares_and_edges_that_make_no_curve_are_refused() -> None:
    on = subject("gpt2")
    eap = ew.attribute(on, pairs(), method="random")
    for shares in ((0.0, 1.0), (0.0, 0.5), (0.5, 0.2, 1.0), (0.0, 0.5, 0.5, 1.0)):
        with pytest.raises(InvalidValue, match="ascend from 0 to 1"):
            interpolate(request(on), eap, ["m0->logits"], shares=shares)
    with pytest.raises(UnknownName):
        interpolate(request(on), eap, ["m0->nowhere"])


# -- histograms and roles ---------------------------------------------------------------------------------------------


def test_histograms_count_both_sides_in_the_same_bins() -> None:
    scores = some_scores(0, 1, 2, 3, 4, 5, 6, 10)
    circuit = ew.Circuit.from_edges(GRAPH, [GRAPH.edges[0], GRAPH.edges[7]])
    found = histogram(scores, circuit, bins=2)
    assert found.borders == (0, 5, 10)
    # In the circuit 0 and 10, mean 5, sd 5; out of it 1 to 6: five stands at a border and counts to the right of it.
    assert (found.inside.counts, found.inside.total, found.inside.mean, found.inside.deviation) == ((1, 1), 2, 5, 5)
    assert (found.outside.counts, found.outside.total, found.outside.mean) == ((4, 2), 6, 3.5)
    assert found.outside.deviation == pytest.approx((35 / 12) ** 0.5)
    assert json.dumps(found.to_dict())


def test_what_has_no_two_sides_has_no_histogram() -> None:
    with pytest.raises(InvalidValue, match="no edges in the circuit"):
        histogram(some_scores(*range(8)), ew.Circuit.from_edges(GRAPH, []))
    with pytest.raises(InvalidValue, match="no edges out of the circuit"):
        histogram(some_scores(*range(8)), ew.Circuit.full(GRAPH))
    with pytest.raises(InvalidValue, match="infinite scores"):
        histogram(some_scores(*[torch.inf] * 8), ew.Circuit.from_edges(GRAPH, [GRAPH.edges[0]]))


def test_roles_average_the_edges_out_of_their_writers() -> None:
    # Edges by reader: input->q k v, input and a0.h0->m0, input, a0.h0 and m0->logits.
    scores = some_scores(1, 2, 3, 4, 10, 5, 20, 7)
    found = roles(scores, {"early": ["input"], "late_heads": ["a0.h0"]})
    by_name = {role.name: (role.edges, role.mean, role.deviation) for role in found.roles}
    assert by_name == {"early": (5, 3, pytest.approx(2**0.5)), "late heads": (2, 15, 5), "others": (1, 7, 0)}
    circuit = ew.Circuit.from_edges(GRAPH, ["input->m0", "a0.h0->m0"])
    in_it = roles(scores, {"early": ["input"], "nothing": []}, circuit=circuit)
    assert [(role.name, role.edges, role.mean) for role in in_it.roles] == [("early", 1, 4), ("others", 1, 10)]
    with pytest.raises(UnknownName, match=r"unknown writer 'a0\.h7'"):
        roles(scores, {"x": ["a0.h7"]})


def test_without_roles_there_are_layers() -> None:
    groups = groups_by_layer(ew.Graph(2, 2, 1))
    assert list(groups) == ["input", "heads of layer 0", "MLP of layer 0", "heads of layer 1", "MLP of layer 1"]
    assert groups["heads of layer 1"] == ("a1.h0", "a1.h1")
    assert [writer for writers in groups.values() for writer in writers] == list(ew.Graph(2, 2, 1).writers)


# -- pictures ---------------------------------------------------------------------------------------------------------

NAMES = ("eap", "acdc", "exact", "random", *(f"method-{i}" for i in range(9)))
LINES = tuple(Line(name, (0.0, 0.5, 1.0), (0.0, 0.1 * i, 1.0), marked=i % 2 == 1) for i, name in enumerate(NAMES))
DRAWINGS: dict[str, Any] = {
    "curves": lambda f: draw_panels(
        f,
        [
            Panel("ROC", "roc", LINES),
            Panel("PR", "precision", LINES, 0.1),
            Panel("share", "share", LINES[:2]),
            Panel("KL", "distance", LINES[:2], 2.0),
        ],
    ),
    "effects": lambda f: draw_scatters(f, [scatter(some_scores(*range(8)), some_scores(*range(1, 9)))] * 5),
    "interpolation": lambda f: draw_interpolations(
        f, [Interpolation("input->a0.h0<k>", "logit_diff", (0.0, 0.5, 1.0), (0.0, 0.2, 1.0), 0.3)] * 4
    ),
    "histograms": lambda f: draw_histograms(
        f, [histogram(some_scores(*range(8)), ew.Circuit.from_edges(GRAPH, [GRAPH.edges[2]]))] * 2
    ),
    "roles": lambda f: draw_roles(f, [roles(some_scores(*range(8)), groups_by_layer(GRAPH))] * 4),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_same_drawing_gives_the_same_bytes(name: str) -> None:
    first, again = (pictures(DRAWINGS[name], (14, 8), ["svg", "png"]) for _ in range(2))
    assert first == again
    assert ElementTree.fromstring(first["svg"]).tag.endswith("svg")
    assert b"<dc:date>" not in first["svg"]
    assert first["png"].startswith(b"\x89PNG\r\n\x1a\n")


def test_every_method_has_a_look_of_its_own() -> None:
    looks = styles(NAMES)
    assert len({(look["color"], str(look["linestyle"])) for look in looks.values()}) == len(NAMES)
    assert looks["exact"]["color"] != looks["random"]["color"]


def test_formats_are_svg_and_png() -> None:
    with pytest.raises(UnknownName, match="picture format"):
        pictures(DRAWINGS["roles"], (4, 3), ["pdf"])


STATE = """
import json, sys
import matplotlib
def settings():
    # Looking at the backend would choose one.
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
before = settings()
from edgewise.figures import Line, Panel, draw_panels, pictures
panel = Panel("ROC", "roc", (Line("eap", (0.0, 1.0), (0.0, 1.0)),))
pictures(lambda figure: draw_panels(figure, [panel]), (3, 3), ["svg", "png"])
pyplot = "matplotlib.pyplot" in sys.modules
print(json.dumps({"same": before == settings(), "pyplot": pyplot}))
"""


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    found = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == {"same": True, "pyplot": False}


def test_drawing_changes_no_model() -> None:
    on = subject("gpt2")
    circuit = random_circuit(on, 0.3, seed=1)
    found = histogram(ew.attribute(on, pairs(), method="eap"), circuit)
    assert found.inside.total == len(circuit)
