"""effects: paths of several edges beside a masked run, and paths of one edge beside the method exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.families import FAMILIES, LINEAR, make_subject, pairs, subject, without_jumps
from support.path_twin import by_hooks, drawn_paths, slow_effect

import edgewise as ew
from edgewise.errors import InvalidValue, UnknownName
from edgewise.reachability import path_of

# The norm of a query or key of these is one over all heads. In a masked run, heads without edges of their own would get
# replaced inputs there: their twin is made of hooks.
COUPLED = ("olmo2", "olmo3")
# Shared keys, separate inputs, a norm after attention, a parallel MLP, experts: all families run with the slow tests.
QUICK = ("toy", "toy-separate-inputs", "gpt2", "gemma2", "neox-parallel", "mixtral")
EACH_FAMILY = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in FAMILIES if name not in COUPLED
]
# Gemma's norms work in float32 whatever the model is in.
NEAR = {"abs": 2e-6, "rel": 1e-4}


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_a_path_does_what_a_masked_run_says(family: str) -> None:
    on = without_jumps(family)
    paths = drawn_paths(on, seed=1, count=5)
    assert len(paths) == 5
    found = ew.effects(on, pairs(), paths)
    slow = {path: slow_effect(on, pairs(), path, "corrupted") for path in paths}
    assert found == pytest.approx(slow, **NEAR)
    assert max(map(abs, found.values())) > 1e-4


@pytest.mark.parametrize("family", [pytest.param("olmo3", marks=pytest.mark.slow), "olmo2"])
def test_where_heads_are_coupled_a_path_does_what_hooks_say(family: str) -> None:
    on = without_jumps(family)
    for layer, kind in ((0, "q"), (0, "v"), (2, "k"), (2, "v"), (2, "q")):
        reader = f"a{layer}.h1<{kind}>"
        path = f"input->{reader}" + ("->logits" if kind == "q" else f":a{layer}.h2->logits")
        assert ew.effects(on, pairs(), [path])[path] == pytest.approx(by_hooks(on, pairs(), layer, kind), **NEAR)


@pytest.mark.parametrize("how", ["zero", "mean"])
@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_whatever_the_edges_are_replaced_by(family: str, how: str) -> None:
    on = without_jumps(family)
    paths = drawn_paths(on, seed=2, count=3)
    found = ew.effects(on, pairs(), paths, ablation=how)
    assert found == pytest.approx({path: slow_effect(on, pairs(), path, how) for path in paths}, **NEAR)


def test_the_batch_size_changes_nothing() -> None:
    on = without_jumps("gpt2")
    paths = drawn_paths(on, seed=3, count=3)
    assert ew.effects(on, pairs(), paths, batch_size=2) == pytest.approx(ew.effects(on, pairs(), paths), rel=1e-9)


def test_in_a_linear_model_the_paths_of_a_node_are_all_it_does() -> None:
    # Given a model of sums and products with constants, where effects add up,
    linear = replace(LINEAR, num_hidden_layers=2, num_attention_heads=2, head_dim=16)
    on = make_subject(linear, dtype=torch.float64)
    # when each path from the input to the logits is patched alone,
    paths = ew.Circuit.full(on.graph).paths(limit=100_000)
    alone = [path for path in paths if "<v>" in path or "<" not in path]
    effects = ew.effects(on, pairs(), alone)
    # then together they are the whole of clean − corrupted: queries and keys do nothing where attention is even.
    ends = ew.evaluate(on, ew.Circuit.full(on.graph), pairs())["logit_diff"]
    assert sum(effects.values()) == pytest.approx(ends.clean - ends.corrupted, rel=1e-6)


def test_edges_and_paths_may_be_asked_for_together_as_text_or_as_lists() -> None:
    on = subject("gpt2")
    path, edges = "input->a0.h1<v>->m1->logits", ["input->a0.h1<v>", "a0.h1->m1", "m1->logits"]
    found = ew.effects(on, pairs(), [path, "m0->logits", ["a1.h2->logits"]])
    assert list(found) == [path, "m0->logits", "a1.h2->logits"]
    assert ew.effects(on, pairs(), [edges]) == {path: found[path]}
    exact = ew.attribute(on, pairs(), method="exact")
    assert found["m0->logits"] == pytest.approx(exact["m0->logits"], rel=1e-5)
    assert found["a1.h2->logits"] == pytest.approx(exact["a1.h2->logits"], rel=1e-5)
    assert path_of(on.graph, path) == path_of(on.graph, edges)


def test_what_is_no_path_is_refused_before_anything_runs() -> None:
    on = subject("gpt2")
    with pytest.raises(UnknownName, match="say which input of the head"):
        ew.effects(on, pairs(), ["input->a0.h1->logits"])
    with pytest.raises(InvalidValue, match="are no path"):
        ew.effects(on, pairs(), [["input->m0", "m1->logits"]])
    with pytest.raises(InvalidValue, match="effects: edges must be a list, each"):
        ew.effects(on, pairs(), [3])  # type: ignore[list-item]
