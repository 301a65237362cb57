"""Forecast: the change of the metric to leading order, worked out by hand where the model is simple enough."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.families import LINEAR, make_subject, pairs, subject
from torch import Tensor

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.engine.frontier import Removal
from edgewise.metrics import Metric
from edgewise.metrics import metric as find_metric
from edgewise.models import Subject
from edgewise.progress import silent
from edgewise.request import Request
from edgewise.search.forecast import Forecast
from edgewise.search.foresight import Foresight
from edgewise.search.hunt import Ground, Rule
from edgewise.search.judge import _Divergence
from edgewise.search.odds import WEIGHTS, Evidence, Odds


def ground(on: Subject, metric: str | Metric) -> Ground:
    wanted = find_metric(metric) if isinstance(metric, str) else metric
    return Ground(Request(on, pairs(), wanted, ablation("corrupted"), 2, silent))


def changes_of_logits(on: Subject, of: Ground, writer: str) -> Tensor:
    """[example, vocab]: what a writer adds to the logits beyond its replacement, in a model without a last norm."""
    row = of.front.streams.rows[of.front.graph.writer_index[writer]][of.front.places.answers_active]
    return row @ on.model.get_output_embeddings().weight.T


@torch.no_grad()
@pytest.mark.parametrize("writer", ["input", "a1.h0", "m2"])
def test_kl_is_half_the_mean_square_along_the_draw(writer: str) -> None:
    on = make_subject(LINEAR, dtype=torch.float64)
    of = ground(on, "kl")
    draw = of.judge.slope(5)
    expected = (changes_of_logits(on, of, writer) * draw).sum(dim=1).square().mean() / 2
    removal = Removal(len(on.graph.readers) - 1, (on.graph.writer_index[writer],))
    assert Forecast(of.front, of.judge).change(removal) == pytest.approx(float(expected), rel=1e-9)


@torch.no_grad()
def test_a_metric_with_a_slope_is_eap() -> None:
    on = subject("gpt2", torch.float64)
    of, eap = ground(on, "logit_diff"), ew.attribute(on, pairs(), method="eap", metric="logit_diff")
    forecast, graph = Forecast(of.front, of.judge), on.graph
    for edge in ("m1->logits", "a0.h2->m2", "m0->a1.h3<k>", "input->a0.h1<v>"):
        writer, reader = graph.edge_index(edge)
        assert forecast.change(Removal(reader, (writer,))) == pytest.approx(float(eap[edge]), abs=1e-6)
    whole = forecast.change(Removal(reader, None))
    assert whole == pytest.approx(float(eap.values[: graph.reach(reader), reader].sum()), abs=1e-6)


def test_the_draw_has_the_curvature_as_its_covariance() -> None:
    clean = torch.tensor([1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    p = clean.softmax(0)
    drawn = _Divergence(clean.expand(200_000, -1)).draw(200_000)
    assert torch.allclose(drawn.T @ drawn / len(drawn), p.diag() - p.outer(p), atol=2e-3)


def flat(logits: Tensor, answers: Any, clean: Tensor) -> Tensor:
    return torch.zeros(len(logits), dtype=logits.dtype)


@pytest.mark.parametrize("metric", ["accuracy", Metric("flat", flat), replace(find_metric("nll"), flat_at_clean=True)])
def test_metrics_that_cannot_tell_have_no_forecast(metric: str | Metric) -> None:
    of = ground(subject("gpt2"), metric)
    assert Forecast(of.front, of.judge).change(Removal(len(of.front.graph.readers) - 1, (0,))) is None


def test_a_model_that_takes_the_general_walk_has_none() -> None:
    of = ground(subject("gemma2"), "kl")
    assert Forecast(of.front, of.judge).change(Removal(len(of.front.graph.readers) - 1, (0,))) is None


def test_margins() -> None:
    signed, absolute = Rule(0.5, "signed", True), Rule(0.5, "absolute", True)
    assert signed.margin(1.0) == pytest.approx(math.log(2))
    assert signed.margin(-1.0) == -4
    assert absolute.margin(-1.0) == pytest.approx(math.log(2))
    assert Rule(0.0, "signed", True).margin(0.1) == 4
    assert Rule(0.0, "signed", True).margin(-0.1) == -4
    assert Rule(math.inf, "signed", True).margin(9.0) == -4
    assert Rule(-math.inf, "signed", True).margin(-9.0) == 4


def test_odds_learn_where_they_are_even() -> None:
    odds, halfway, far = Odds(), Evidence(1, math.log(0.25), 0), Evidence(1, math.log(1 / 16), 0)
    # 1 / (1 + exp(−weight · log ¼)) = 1 / (1 + 4 ** weight)
    assert odds.of(halfway) == pytest.approx(1 / (1 + 4**WEIGHTS.margin))
    for _ in range(30):  # a quarter of the threshold is what is taken back here, a sixteenth is not
        odds.learn(halfway, True)
        odds.learn(far, False)
    assert odds.of(halfway) > 0.6
    assert odds.of(far) < 0.4
    assert odds.weights.margin == WEIGHTS.margin


def test_a_sure_forecast_makes_longer_batches() -> None:
    graph = subject("gpt2").graph
    removals = tuple(Removal(len(graph.readers) - 1, (writer,)) for writer in range(10))
    sure = Foresight(graph, 32, {}, lambda removal: -4.0).plan(removals, frozenset())
    unsure = Foresight(graph, 32, {}, lambda removal: -0.1).plan(removals, frozenset())
    assert len(sure) > len(unsure)
    assert all(sure.goes)
