"""The pruning methods: exactly as many edges as asked for, each other's special cases, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import FAMILIES, pairs, subject
from support.thinned import thinned

import edgewise as ew
from edgewise.ablations import ABLATIONS
from edgewise.errors import EdgewiseError, InvalidValue, UnknownName
from edgewise.pruning import PRUNINGS
from edgewise.pruning.edge_pruning import EdgePruning
from edgewise.pruning.fit import fit
from edgewise.pruning.hap import HAP
from edgewise.pruning.history import read_history
from edgewise.pruning.optimization import Optimization, Problem
from edgewise.pruning.rounding import best_edges
from edgewise.pruning.subnetwork_probing import SubnetworkProbing
from edgewise.pruning.trained_gates import TrainedGates
from edgewise.pruning.training import Adam

QUICK: dict[str, Any] = {"steps": 6, "batch_size": 5}


@pytest.mark.parametrize("edges", [1, 2, 7, 60, 150, 261, 262])
@pytest.mark.parametrize("gated", ["edges", "edges+writers"])
def test_exactly_so_many_edges(edges: int, gated: str) -> None:
    on = subject("gpt2")
    assert on.graph.n_edges == 262
    circuit = ew.discover(on, pairs(), method="edge-pruning", edges=edges, gated=gated, **QUICK)
    assert len(circuit) == edges
    assert circuit.has_path
    assert circuit.provenance["edges"] == {"selected": edges, "kept": edges, "total": 262}


@pytest.mark.parametrize(("sparsity", "family"), thinned([(0.3,), (0.97,)], FAMILIES, one_in=4))
def test_exactly_the_sparsity(sparsity: float, family: str) -> None:
    on = subject(family)
    for method in ("edge-pruning", "hap"):
        keep = {"keep": 1 - 0.5 * sparsity} if method == "hap" else {}
        circuit = ew.discover(on, pairs(), method=method, sparsity=sparsity, **keep, **QUICK)
        assert len(circuit) == round((1 - sparsity) * on.graph.n_edges)
        assert circuit.has_path


@pytest.mark.parametrize(
    ("ablation", "family"),
    thinned([(name,) for name in ABLATIONS], ["gpt2", "gemma2", "toy-attention-only"], one_in=3),
)
def test_hap_that_keeps_everything_is_edge_pruning(ablation: str, family: str) -> None:
    how = {"edges": 20, "ablation": ablation, "seed": 2, **QUICK}
    whole = ew.discover(subject(family), pairs(), method="edge-pruning", **how)
    hybrid = ew.discover(subject(family), pairs(), method="hap", keep=1.0, **how)
    assert hybrid == whole
    assert hybrid.provenance["final"] == whole.provenance["final"]


def test_hap_prunes_what_attribution_proposes() -> None:
    on = subject("gpt2")
    proposed = ew.attribute(on, pairs(), method="eap-ig").top(100)
    circuit = ew.discover(on, pairs(), method="hap", edges=20, keep=70 / 262, **QUICK)
    # What hangs together of 70 candidates are among a few more of the best.
    assert circuit <= proposed
    assert circuit.provenance["candidates"] == 70
    assert circuit.provenance["proposed_by"] == "eap-ig"
    assert circuit.provenance["steps"] < QUICK["steps"]
    assert circuit.provenance["metric"] == "kl"


def test_where_gates_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the scores under HAP's default preset; all but alike where nothing was scored, and as published."""
    on, starts = subject("gpt2"), list[torch.Tensor]()

    def seen(problem: Problem, *rest: Any) -> TrainedGates:
        starts.append(Optimization(problem, rest[0]).logits.detach().clone())
        return fit(problem, *rest)

    monkeypatch.setattr("edgewise.pruning.ladder.fit", seen)
    for how in ({"method": "hap"}, {"method": "hap", "preset": "published"}, {"method": "edge-pruning"}):
        ew.discover(on, pairs(), edges=20, **how, **QUICK)
    scored, published, unscored = starts
    scores = ew.attribute(on, pairs(), method="eap-ig").values.abs()
    ranking = scores.double()
    ranking[0, -1] = torch.inf  # the one circuit of a single edge is always a candidate
    candidates = best_edges(on.graph, ranking, len(scored))
    # In the order of the scores; where these are all but equal, rounding may make them equal, and no more than that.
    assert float(scored[scores[candidates].argsort()].diff().min()) > -1e-5
    assert scored.unique().numel() > 0.9 * len(scored)
    assert float(scored.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(scored.std(unbiased=False)) == pytest.approx(1.0, abs=1e-5)
    assert bool(((published - 10).abs() < 0.1).all())
    assert bool((unscored.abs() < 0.1).all())


@pytest.mark.slow
def test_hap_as_published_is_led_from_what_is_proposed_to_what_is_wanted(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    how = {"preset": "published", "steps": 1200, "batch": 5, "edges": 20, "history": str(history)}
    circuit = ew.discover(subject("gpt2"), pairs(), method="hap", **how)
    records = read_history(history)
    assert len(records) == circuit.provenance["steps"] == 400
    assert circuit.provenance["candidates"] == 40
    assert records[0].target == pytest.approx(1 - 40 / 262, abs=1e-3)
    assert records[-1].target == pytest.approx(1 - 20 / 262)
    assert records[0].sparsity == pytest.approx(1 - 40 / 262, abs=1e-3)
    held = [record.sparsity for record in records[-40:]]
    assert sum(held) / len(held) == pytest.approx(1 - 20 / 262, abs=0.03)


@pytest.mark.parametrize(("sparsity", "candidates"), [(0.95, 39), (0.85, 78), (0.4, 262)])
def test_hap_proposes_its_share_or_twice_what_is_kept(sparsity: float, candidates: int) -> None:
    circuit = ew.discover(subject("gpt2"), pairs(), method="hap", sparsity=sparsity, **QUICK)
    assert circuit.provenance["candidates"] == candidates


def test_the_metric_of_hap_s_first_stage() -> None:
    of = replace(pairs(), wrong=torch.full_like(pairs().wrong, -1))
    how = {"method": "hap", "edges": 20, "keep": 0.5, **QUICK}
    without_wrong = ew.discover(subject("gpt2"), of, **how)
    assert without_wrong == ew.discover(subject("gpt2"), of, attribution_metric="nll", **how)
    assert ew.discover(subject("gpt2"), pairs(), **how) == ew.discover(
        subject("gpt2"), pairs(), attribution_metric="logit_diff", **how
    )


@pytest.mark.parametrize(
    "metric", ["logit_diff", *(pytest.param(each, marks=pytest.mark.slow) for each in ("kl", "nll"))]
)
def test_longer_training_finds_better_circuits_than_none(metric: str) -> None:
    on, how = subject("gpt2"), {"method": "edge-pruning", "edges": 60, "metric": metric, "batch_size": 5}
    trained, untrained = (ew.discover(on, pairs(), steps=steps, **how).provenance["final"] for steps in (80, 1))
    assert trained < untrained


def test_subnetwork_probing_closes_more_the_higher_the_price() -> None:
    on, how = subject("gpt2"), {"method": "subnetwork-probing", "steps": 40, "batch_size": 5, "learning_rate": 0.4}
    sizes = [len(ew.discover(on, pairs(), regularization=price, **how)) for price in (0.0, 1.0, 1e3)]
    assert sizes[0] > sizes[1] > sizes[2] == 1


def test_a_sweep_turns_the_dial() -> None:
    sweep = ew.sweep(subject("gpt2"), pairs(), method="edge-pruning", values=[0.9, 0.5], **QUICK)
    assert [len(circuit) for circuit in sweep.circuits] == [26, 131]
    priced = ew.sweep(
        subject("gpt2"), pairs(), method="subnetwork-probing", values=[1e3, 0.0], steps=25, learning_rate=0.5
    )
    assert len(priced.circuits[0]) < len(priced.circuits[1])


@pytest.mark.parametrize("method", PRUNINGS)
def test_provenance_names_options_but_no_files(method: str, tmp_path: Any) -> None:
    files = {"checkpoint": str(tmp_path / "a"), "history": str(tmp_path / "b"), "curves": str(tmp_path / "c.svg")}
    circuit = ew.discover(subject("gpt2"), pairs(), method=method, **files, **QUICK)
    options = circuit.provenance["options"]
    assert options["steps"] == 6
    assert not set(files) & set(options)
    assert isinstance(circuit.provenance["final"], float)


def test_the_published_settings_have_a_name() -> None:
    published = EdgePruning(preset="published").training
    assert (published.steps, published.approaching, published.warmup, published.batch) == (3000, 2500, 200, 32)
    assert (published.rate, published.multiplier_rate, published.update) == (0.8, 0.8, Adam(decay=0.01, clip=1.0))
    assert (published.start, published.spread, published.final_rate) == (10.0, 0.01, 0.0)
    probing = SubnetworkProbing(preset="published").training
    assert (probing.steps, probing.rate, probing.gates.edge) == (10_000, 1e-3, 1e-4)
    assert probing.start == pytest.approx(1.609, abs=1e-3)
    assert EdgePruning(preset="published", steps=60, batch=4, learning_rate=0.1).training.approaching == 50


@pytest.mark.parametrize(
    ("method", "options", "error", "message"),
    [
        ("edge-pruning", {"sparsity": 0}, InvalidValue, "sparsity=0 must lie between 0 and 1"),
        ("edge-pruning", {"sparsity": 1.0}, InvalidValue, "sparsity=1.0 must lie between 0 and 1"),
        ("edge-pruning", {"sparsity": "much"}, InvalidValue, "sparsity must be a number or none, not 'much'"),
        ("edge-pruning", {"sparsity": float("nan")}, InvalidValue, "sparsity=nan"),
        (
            "edge-pruning",
            {"sparsity": 0.9999},
            InvalidValue,
            "0 of 262 edges: a path from input to logits needs at least one",
        ),
        (
            "edge-pruning",
            {"edges": 0},
            InvalidValue,
            "asked for 0 edges, but the graph has 262",
        ),
        ("edge-pruning", {"edges": 263}, InvalidValue, "asked for 263 edges, but the graph has 262"),
        ("edge-pruning", {"edges": 5, "sparsity": 0.5}, InvalidValue, "not both"),
        (
            "edge-pruning",
            {"gated": "nodes"},
            InvalidValue,
            r"gated must be 'edges', 'edges.writers', .*, not 'nodes'; did you mean 'edges.nodes'",
        ),
        ("edge-pruning", {"preset": "publisht"}, UnknownName, "did you mean 'published'"),
        ("edge-pruning", {"steps": 0}, InvalidValue, "steps=0 must be at least 1"),
        ("edge-pruning", {"learning_rate": 0}, InvalidValue, "learning_rate=0 must be a positive number"),
        ("edge-pruning", {"batch": 0}, InvalidValue, "batch=0 must be at least 1"),
        ("edge-pruning", {"seed": -1}, InvalidValue, "seed=-1"),
        ("hap", {"keep": 0}, InvalidValue, "keep=0"),
        ("hap", {"keep": 1.5}, InvalidValue, "keep=1.5"),
        ("hap", {"keep": 0.05, "sparsity": 0.9}, InvalidValue, "fewer edges than a sparsity of 0.9 keeps; raise keep"),
        (
            "hap",
            {"keep": 0.1, "edges": 27},
            InvalidValue,
            "proposes 26 of 262 edges, fewer than the 27 asked for: raise keep",
        ),
        ("hap", {"attribution": "eep"}, UnknownName, "did you mean 'eap'"),
        ("hap", {"attribution_metric": "kll"}, UnknownName, "did you mean 'kl'"),
        ("hap", {"attribution": "eap", "attribution_metric": "kl"}, EdgewiseError, "eap cannot use kl"),
        ("subnetwork-probing", {"regularization": -1}, InvalidValue, "regularization=-1"),
        ("subnetwork-probing", {"edges": 5}, InvalidValue, "decides itself how many edges"),
        ("subnetwork-probing", {"metric": "accuracy"}, EdgewiseError, "accuracy"),
    ],
)
def test_what_makes_no_sense_is_refused(
    method: str, options: dict[str, Any], error: type[EdgewiseError], message: str
) -> None:
    with pytest.raises(error, match=message):
        ew.discover(subject("gpt2"), pairs(), method=method, **options)


def test_what_needs_no_model_is_refused_without_one() -> None:
    with pytest.raises(InvalidValue, match="raise keep"):
        HAP(keep=0.05, sparsity=0.9)
    HAP(keep=0.05, sparsity=0.95)  # just enough, although 1 − 0.95 is more than 0.05 in floating point
    with pytest.raises(InvalidValue, match="edges=0 must be"):
        EdgePruning().for_edges(0)
