"""EAP + ACDC: the candidates that attribution names, tested as ACDC tests all edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import FAMILIES, pairs, subject
from support.one_at_a_time import OneAtATime, read_trace
from support.thinned import thinned

import edgewise as ew
from edgewise.errors import EdgewiseError, GraphMismatch
from edgewise.evaluation import measure_grid
from edgewise.search import EAPThenACDC

CASES = [
    ("kl", "corrupted", {"share": 0.3, "tau": 0.02}),
    ("logit_diff", "zero", {"threshold": 0.02, "tau": 0.05, "rule": "absolute"}),
    ("kl", "mean", {"share": 0.1, "tau": 0.02, "whole_readers": False}),
]


@pytest.mark.parametrize(("metric", "ablation", "options", "family"), thinned(CASES, FAMILIES, one_in=6))
def test_same_decisions_as_one_candidate_at_a_time(
    family: str, metric: str, ablation: str, options: dict[str, Any], tmp_path: Path
) -> None:
    on, of, path = subject(family, torch.float64), pairs(), tmp_path / "trace.jsonl"
    circuit = ew.discover(on, of, method="eap+acdc", metric=metric, ablation=ablation, trace=str(path), **options)
    scores = ew.attribute(on, of, method="eap", metric="logit_diff", ablation=ablation)
    chosen = (
        scores.top(round(options["share"] * len(scores))) if "share" in options else scores.above(options["threshold"])
    )
    oracle = OneAtATime(on, of, EAPThenACDC(**options).criterion, metric, ablation, chosen.mask)
    mask, expected = oracle.run()
    found = read_trace(path)
    assert [(d.edge, d.kept, d.tested) for d in found] == [(d.edge, d.kept, d.tested) for d in expected]
    assert torch.equal(circuit.mask, mask)
    assert not bool((circuit.mask & ~chosen.mask).any())
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.after == pytest.approx(theirs.after, abs=1e-5)
    assert circuit.provenance["candidates"] == len(chosen)
    assert circuit.provenance["tested"] == sum(decision.tested for decision in expected)


def test_all_edges_as_candidates_are_acdc_and_none_are_nothing() -> None:
    on, of = subject("gpt2"), pairs()
    both = ew.discover(on, of, method="eap+acdc", share=1.0, tau=0.02)
    alone = ew.discover(on, of, method="acdc", tau=0.02)
    assert both == alone
    assert both.provenance["tested"] == alone.provenance["tested"]
    none = ew.discover(on, of, method="eap+acdc", threshold=1e9, tau=0.0)
    assert (len(none), none.provenance["tested"], none.provenance["candidates"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 2}, "share=2 must be"),
        ({"share": float("nan")}, "share=nan must be"),
        ({"threshold": -1.0}, "threshold=-1.0 must be"),
        ({"attribution": "eapp"}, "unknown attribution 'eapp'; did you mean 'eap'"),
        ({"attribution_metric": "kll"}, "did you mean 'kl'"),
        ({"attribution_metric": "kl"}, "kl"),
        ({"tau": -1}, "must be at least 0"),
        ({"edges": 5}, "decides itself how many edges"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgewiseError, match=message):
        ew.discover(subject("gpt2"), pairs(), method="eap+acdc", **options)


def test_a_killed_search_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    on, of, path = subject("llama", torch.float64), pairs(), tmp_path / "trace.jsonl"
    how: dict[str, Any] = {"method": "eap+acdc", "share": 0.3, "tau": 0.02, "trace": str(path)}
    whole = ew.discover(on, of, **how)
    lines = path.read_text().splitlines(keepends=True)
    for cut in (1, 2, 9, 25):
        path.write_text("".join(lines[:cut]) + lines[cut][:9])
        again = ew.discover(on, of, **how)
        assert again == whole
        assert again.provenance["tested"] == whole.provenance["tested"]
        assert again.provenance["computed"] < whole.provenance["computed"] or cut < 3
        assert len(path.read_text().splitlines()) == len(lines)


# -- the grid ---------------------------------------------------------------------------------------------------------


def test_a_grid_is_made_of_single_searches() -> None:
    on, of = subject("gpt2", torch.float64), pairs()
    reference = ew.attribute(on, of, method="exact").top(30)
    thresholds, taus = (0.0, 0.05, 1e9), (0.2, 0.02, 0.0)
    grid = measure_grid(on, of, reference, thresholds=thresholds, taus=taus, level="edges")
    assert [(point.threshold, point.tau) for point in grid.points] == [(h, tau) for h in thresholds for tau in taus]
    for point in grid.points:
        alone = ew.discover(on, of, method="eap+acdc", threshold=point.threshold, tau=point.tau)
        assert (point.edges, point.forwards) == (len(alone), alone.provenance["tested"])
        assert point.candidates == alone.provenance["candidates"]
        # True and false positives counted by name, of 30 and of all the others.
        hits = len(set(alone.edges) & set(reference.edges))
        assert point.tpr == pytest.approx(hits / 30)
        assert point.fpr == pytest.approx((len(alone) - hits) / (on.graph.n_edges - 30))
        assert point.youden == pytest.approx(point.tpr - point.fpr)
    assert grid.best.youden == max(point.youden for point in grid.points)
    assert [row["forwards"] for row in grid.rows()] == [f"{point.forwards:,}" for point in grid.points]
    assert grid.to_dict()["points"][0]["tau"] == 0.2


def test_a_grid_without_a_reference_is_refused() -> None:
    on, of, full = subject("gpt2"), pairs(), ew.Circuit.full(subject("gpt2").graph)
    with pytest.raises(EdgewiseError, match="reference must be a Circuit, not None"):
        measure_grid(on, of, None, thresholds=[0.1], taus=[0.1])  # type: ignore[arg-type]
    with pytest.raises(EdgewiseError, match="needs a reference circuit"):
        measure_grid(on, of, full, thresholds=[0.1], taus=[0.1])
    with pytest.raises(GraphMismatch, match="another model"):
        measure_grid(on, of, ew.Circuit.from_edges(ew.Graph(1, 1, 1), ["m0->logits"]), thresholds=[0.1], taus=[0.1])
    with pytest.raises(EdgewiseError, match="at least one"):
        measure_grid(on, of, ew.Circuit.from_edges(on.graph, ["m0->logits"]), thresholds=[], taus=[0.1])
