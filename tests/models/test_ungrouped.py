"""Ungrouped keys and values: the same logits, readers for every query head, and a model left as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.families import CONFIGS, GROUPED_FAMILIES, distance, make_model, pairs, subject_of, ungrouped

import edgewise as ew
from edgewise.errors import InvalidValue


@pytest.mark.parametrize("family", GROUPED_FAMILIES)
def test_a_twin_computes_what_the_model_computes(family: str) -> None:
    model, of = make_model(CONFIGS[family]()), pairs()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    native, apart = ew.load(model), ew.load(model, kv="ungrouped")
    assert apart.graph == replace(native.graph, kv_heads=native.graph.heads)
    ours, theirs = (on.logits(of.clean, of.positions) for on in (apart, native))
    assert distance(ours, theirs) < 1e-6
    assert native.model is model
    assert ew.load(model).graph == native.graph
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert apart.identity["kv"] == "ungrouped"
    assert "kv" not in native.identity


@pytest.mark.parametrize(
    ("method", "family"), [*(("eap", family) for family in GROUPED_FAMILIES), ("exact", "toy"), ("exact", "llama")]
)
def test_the_scores_are_those_of_a_model_made_with_separate_weights(method: str, family: str) -> None:
    model, of = make_model(CONFIGS[family]()), pairs()
    ours, theirs = (
        ew.attribute(on, of, method=method) for on in (ew.load(model, kv="ungrouped"), subject_of(ungrouped(model)))
    )
    assert ours.graph == theirs.graph
    assert distance(ours.values, theirs.values) < 1e-5


def test_query_heads_of_one_group_score_their_own_share() -> None:
    """The shared reader's score is the sum of theirs, which differ."""
    model, of = make_model(CONFIGS["qwen2"]()), pairs()
    shared, apart = (ew.attribute(ew.load(model, kv=kv), of) for kv in ("native", "ungrouped"))
    first, second = (apart[f"input->a1.h{head}<v>"] for head in (2, 3))
    assert shared["input->a1.h1<v>"] == pytest.approx(first + second, abs=1e-5)
    assert abs(first - second) > 1e-3


def test_all_other_weights_are_the_models_own() -> None:
    model = make_model(CONFIGS["llama"]())
    apart = ew.load(model, kv="ungrouped").model
    own = {parameter.data_ptr() for parameter in model.parameters()}
    new = [name for name, parameter in apart.named_parameters() if parameter.data_ptr() not in own]
    assert len(new) == 2 * 3
    assert all("k_proj" in name or "v_proj" in name for name in new)


def test_a_model_that_shares_nothing_stays_itself() -> None:
    model = make_model(CONFIGS["gpt2"]())
    on = ew.load(model, kv="ungrouped")
    assert on.model is model
    assert "kv" not in on.identity


def test_another_choice_is_refused() -> None:
    with pytest.raises(InvalidValue, match="kv must be 'native' or 'ungrouped', not 'ungroup'"):
        ew.load(make_model(CONFIGS["llama"]()), kv="ungroup")  # type: ignore[arg-type]
