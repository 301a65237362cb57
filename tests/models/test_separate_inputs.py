"""Token and position embedding as two writers: the same model as with one, with its first edges split in two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.families import distance, make_model, make_subject, pairs, subject_of, toy_config

import edgewise as ew
from edgewise.ablations import ABLATIONS, ablation
from edgewise.engine.forward import masked_forward
from edgewise.engine.record import record
from edgewise.models import Subject
from edgewise.request import Batch
from edgewise.search.incremental import search_part
from edgewise.search.incremental.frontier import WalkingFrontier

NEAR = 1e-5
# Norms or none, MLPs or none, looking back or both ways.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no norms": {"norms": False},
    "no MLPs": {"mlps": False},
    "both ways": {"causal": False},
    "both ways, no norms": {"causal": False, "norms": False, "activation": "relu"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def twins(kind: str) -> tuple[Subject, Subject]:
    """The same weights with one input writer and with two."""
    model = make_model(toy_config(**KINDS[kind]), dtype=torch.float64)
    apart = make_model(toy_config(**KINDS[kind], separate_inputs=True), dtype=torch.float64)
    apart.load_state_dict(model.state_dict())
    return subject_of(model), subject_of(apart)


def joined(values: torch.Tensor) -> torch.Tensor:
    """[writer, reader] with the rows of `input` and `positions` added up."""
    return torch.cat([values[:2].sum(dim=0, keepdim=True), values[2:]])


@every_kind
def test_the_graph_has_one_more_writer_and_the_model_is_the_same(kind: str) -> None:
    one, two = twins(kind)
    of = pairs()
    assert one.graph.writers == ("input", *two.graph.writers[2:])
    assert two.graph.writers[:2] == ("input", "positions")
    assert two.graph.n_edges == one.graph.n_edges + len(one.graph.readers)
    assert torch.equal(one.logits(of.clean, of.positions), two.logits(of.clean, of.positions))


def test_each_writes_what_its_own_embedding_gives() -> None:
    on, of = make_subject(toy_config(separate_inputs=True)), pairs()
    inputs = record(on, of.clean, of.positions).writes.inputs
    assert torch.equal(inputs[:, :, 0], on.model.embed(of.clean))
    assert torch.equal(inputs[:, :, 1], on.model.positions.weight[: of.clean.shape[1]].expand_as(inputs[:, :, 1]))
    assert torch.equal(on.embed(of.clean), inputs)


@every_kind
@pytest.mark.parametrize("how", ABLATIONS)
def test_kept_to_the_same_degree_they_are_one(kind: str, how: str) -> None:
    (one, two), of = twins(kind), whole(kind)
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(one.graph.edge_mask.shape, generator=generator, dtype=torch.float64) * one.graph.edge_mask
    apart = torch.cat([mask[:1], mask])
    runs = [
        masked_forward(on, of.clean, of.positions, kept, ablation(how).prepare(on, of, 2)(of))
        for on, kept in ((one, mask), (two, apart))
    ]
    assert distance(runs[1], runs[0]) < NEAR


@every_kind
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_first_order_scores_of_the_two_add_up_to_those_of_the_one(kind: str, how: str) -> None:
    (one, two), of = twins(kind), whole(kind)
    ours, theirs = (ew.attribute(on, of, method="eap", ablation=how, batch_size=2).values for on in (two, one))
    assert distance(joined(ours), theirs) < NEAR


@every_kind
def test_the_corrupted_run_has_the_same_positions_and_the_average_over_positions_has_not(kind: str) -> None:
    (_, on), of = twins(kind), whole(kind)
    row = on.graph.writer_index["positions"]
    for how, seen in {"corrupted": False, "position-mean": False, "mean": True, "zero": True}.items():
        scores = ew.attribute(on, of, method="exact", ablation=how).values[row].abs().max()
        assert (float(scores) > 1e-3) == seen, how


@every_kind
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_acdc_decides_the_same_with_and_without_the_cache(kind: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (_, on), of = twins(kind), whole(kind)
    run: Callable[[], ew.Circuit] = lambda: ew.discover(on, of, method="acdc", tau=0.05, ablation=how)  # noqa: E731
    cached = run()
    walking: Callable[[Batch, torch.Tensor], WalkingFrontier] = lambda at, mask: WalkingFrontier(  # noqa: E731
        at.subject, at.pairs, at.replacement, mask
    )
    monkeypatch.setattr(search_part, "frontier", walking)
    walked = run()
    assert cached == walked
    assert cached.provenance["tested"] == walked.provenance["tested"]
    assert cached.provenance["final"] == pytest.approx(walked.provenance["final"], abs=1e-6)
    assert 0 < len(cached) < on.graph.n_edges


def whole(kind: str) -> ew.Pairs:
    """Pairs without padding, which a model that looks both ways would read."""
    of = pairs()
    return replace(of, positions=torch.full_like(of.positions, of.clean.shape[1] - 1)) if "both" in kind else of
