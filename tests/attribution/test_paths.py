"""Methods that are a path, against autograd with a residual stream of its own for every reader; and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.counted_runs import counting
from support.families import FAMILIES, distance, multiplier, pairs, subject, without_jumps
from support.path_oracle import batch_of, clean_of, scores_along
from torch import Tensor

import edgewise as ew
from edgewise.attribution.eap_ig import EAPIG
from edgewise.attribution.eap_ig_activations import EAPIGActivations
from edgewise.attribution.mask_ig import MaskIG
from edgewise.engine.tiling import PROCESSOR, using_tiling
from edgewise.errors import EdgewiseError, InvalidValue, NumericalError
from edgewise.models.hooks import Hook, OnInput
from edgewise.old_names import NodeScores
from edgewise.request import Batch

NEAR = 1e-4
every_family = pytest.mark.parametrize("family", FAMILIES)
Path = list[tuple[float, Sequence[Hook]]]


def held(value: Tensor) -> Any:
    return lambda _: value.detach().requires_grad_()


def input_path(batch: Batch, shares: Sequence[float]) -> Path:
    """Runs whose layer 0 gets replaced + share · (clean − replaced), all with the same weight."""
    first, clean, replaced = (
        batch.subject.blocks[0].module,
        clean_of(batch).writes.stream,
        batch.replacement.writes.stream,
    )
    return [(1 / len(shares), [OnInput(first, held(replaced + a * (clean - replaced)))]) for a in shares]


def activation_path(batch: Batch, steps: int) -> Path:
    """The input, then each layer's heads and MLP, held in turn between replaced and clean."""
    shares, clean, other = [(k + 1) / steps for k in range(steps)], clean_of(batch).writes, batch.replacement.writes
    points: Path = list(input_path(batch, shares))
    for layer, block in enumerate(batch.subject.blocks):
        for a in shares:
            z = a * clean.raw[layer] + (1 - a) * other.raw[layer]
            points.append((0, [OnInput(block.output, held(z.flatten(-2)))]))
        for a in shares if block.mlp_site is not None else ():
            out = a * clean.mlp[layer] + (1 - a) * other.mlp[layer]
            points.append((0, block.mlp_written(held(out / multiplier(batch.subject)))))
    return [(1 / len(points), edits) for _, edits in points]


@every_family
@pytest.mark.parametrize("how", ["corrupted", "position-mean"])
def test_eap_ig_is_the_mean_gradient_from_the_replaced_input_up_to_the_clean_one(family: str, how: str) -> None:
    batch = batch_of(subject(family), pairs(), how)
    expected = scores_along(batch, input_path(batch, [0, 1 / 3, 2 / 3]))
    scores = ew.attribute(subject(family), pairs(), method="eap-ig", steps=3, ablation=how, batch_size=2)
    assert distance(scores.values, expected) < NEAR


@pytest.mark.parametrize(("points", "shares"), [("middle", [0.25, 0.75]), ("right", [0.5, 1.0])])
def test_points_may_lie_elsewhere_in_the_steps(points: str, shares: list[float]) -> None:
    batch = batch_of(subject("llama"), pairs())
    scores = ew.attribute(subject("llama"), pairs(), method="eap-ig", steps=2, points=points)
    assert distance(scores.values, scores_along(batch, input_path(batch, shares))) < NEAR


@every_family
def test_a_path_from_zeros_avoids_them(family: str) -> None:
    """At zeros the norms' derivatives are enormous, so the published points would say nothing but this one."""
    batch = batch_of(subject(family), pairs(), "zero")
    scores = ew.attribute(subject(family), pairs(), steps=2, ablation="zero", batch_size=2)
    assert distance(scores.values, scores_along(batch, input_path(batch, [0.25, 0.75]))) < NEAR
    assert scores.provenance["options"] == {"steps": 2, "points": "middle"}
    nodes = ew.attribute_nodes(subject(family), pairs(), steps=2, ablation="zero")
    assert distance(NodeScores.of(scores).values, nodes.values) < NEAR
    assert nodes.provenance["options"] == scores.provenance["options"]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
def test_in_zeros_the_first_point_drowns_the_others(family: str) -> None:
    exact, left, middle = (
        ew.attribute(subject(family), pairs(), ablation="zero", batch_size=5, **how).values.abs().max()
        for how in ({"method": "exact"}, {"points": "left"}, {})
    )
    assert left > 1e6 * exact
    assert middle < exact


def test_points_that_are_asked_for_are_kept() -> None:
    batch = batch_of(subject("gpt2"), pairs(), "zero")
    scores = ew.attribute(subject("gpt2"), pairs(), steps=2, points="right", ablation="zero")
    assert distance(scores.values, scores_along(batch, input_path(batch, [0.5, 1.0]))) < NEAR
    assert scores.provenance["options"] == {"steps": 2, "points": "right"}
    assert ew.attribute(subject("gpt2"), pairs()).provenance["options"] == {"steps": 5, "points": "left"}


def test_on_a_path_from_zeros_left_points_turn_signs_of_reverse_round() -> None:
    """Every edge of the program helps; five points at the left, zeros among them, say of 5 of its 8 that they hurt."""
    task, on = ew.task("reverse"), ew.load("reverse")
    of = task.pairs(on.tokenizer, n=64, seed=0)
    left, middle = (ew.attribute(on, of, ablation="zero", **how) for how in ({"points": "left"}, {}))
    assert task.reference is not None
    assert sum(left[edge] < 0 for edge in task.reference.edges) == 5
    assert all(middle[edge] > 0 for edge in task.reference.edges)
    assert middle.top(8) == left.top(8) == task.reference


@every_family
def test_clean_corrupted_is_the_mean_of_both_ends(family: str) -> None:
    batch = batch_of(subject(family), pairs())
    scores = ew.attribute(subject(family), pairs(), method="clean-corrupted", batch_size=3)
    assert distance(scores.values, scores_along(batch, input_path(batch, [0, 1]))) < NEAR


@every_family
@pytest.mark.parametrize("how", ["corrupted", "mean"])
def test_eap_ig_activations_leads_one_sublayer_after_the_other(family: str, how: str) -> None:
    on, of = subject(family), pairs()[:2]
    batch = batch_of(on, of, how)
    scores = ew.attribute(on, of, method="eap-ig-activations", steps=2, ablation=how)
    assert distance(scores.values, scores_along(batch, activation_path(batch, 2))) < NEAR


def test_many_runs_are_contracted_in_turns() -> None:
    expected = ew.attribute(subject("gemma2"), pairs(), method="eap-ig", steps=7).values
    with using_tiling(replace(PROCESSOR, runs=2)):
        again = ew.attribute(subject("gemma2"), pairs(), method="eap-ig", steps=7).values
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-6)


# -- metrics that are flat at the clean run ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["eap-ig", "eap-ig-activations", "clean-corrupted", "mask-ig"])
def test_kl_is_of_use_away_from_the_clean_run(method: str) -> None:
    scores = ew.attribute(subject("gpt2"), pairs(), method=method, metric="kl")
    exact = ew.attribute(subject("gpt2"), pairs(), method="exact", metric="kl")
    assert scores.agreement(exact)["spearman"] > 0.2


def test_eap_ig_with_kl_compares_with_the_clean_logits() -> None:
    batch = batch_of(subject("llama"), pairs(), by="kl")
    scores = ew.attribute(subject("llama"), pairs(), method="eap-ig", steps=2, metric="kl")
    assert distance(scores.values, scores_along(batch, input_path(batch, [0, 0.5]))) < NEAR


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "eap-ig", "steps": 0}, InvalidValue, "steps=0 must be a whole number"),
        ({"method": "eap-ig-activations", "steps": 0}, InvalidValue, "steps=0 must be a whole number"),
        ({"method": "mask-ig", "steps": -1}, InvalidValue, "steps=-1 must be a whole number"),
        ({"method": "eap-ig", "steps": "many"}, InvalidValue, "eap-ig: steps must be a whole number, not 'many'"),
        ({"method": "mask-ig", "steps": 2.5}, InvalidValue, "steps must be a whole number, not 2.5"),
        ({"method": "gim", "temperature": 0}, InvalidValue, "temperature=0 must be above 0"),
        ({"method": "gim", "temperature": "hot"}, InvalidValue, "temperature must be a number, not 'hot'"),
        ({"method": "eap-ig", "points": "lft"}, InvalidValue, "did you mean 'left'"),
        ({"method": "eap-ig", "steps": 1, "points": "right", "metric": "kl"}, NumericalError, "zero at the clean run"),
        ({"method": "eap-ig-activations", "steps": 1, "metric": "kl"}, NumericalError, "zero at the clean run"),
        ({"method": "clean-corrupted", "metric": "accuracy"}, NumericalError, "zero wherever it exists"),
        ({"method": "mask-ig", "metric": "accuracy"}, NumericalError, "zero wherever it exists"),
    ],
)
def test_refusals(options: dict[str, Any], error: type[EdgewiseError], message: str) -> None:
    with pytest.raises(error, match=message):
        ew.attribute(subject("toy"), pairs(), **options)


# -- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "toy-attention-only"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_cost_is_what_the_method_says(family: str, steps: int) -> None:
    on = subject(family)
    sublayers = 1 + on.graph.layers * (1 + on.graph.mlps)
    expected = {
        "eap-ig": (2 + steps, steps),
        "eap-ig-activations": (1 + steps * sublayers, steps * sublayers),
        "clean-corrupted": (3, 2),
    }
    for method, (forwards, backwards) in expected.items():
        options = {} if method == "clean-corrupted" else {"steps": steps}
        with counting(on) as counts:
            ew.attribute(on, pairs(), method=method, batch_size=5, **options)
        assert (counts["forward"], counts["backward"]) == (forwards, backwards), method


def test_the_costs_are_documented() -> None:
    assert EAPIG.cost == "2 forward + steps × (forward + backward)"
    assert EAPIGActivations.cost == "1 forward + steps × (2 × layers + 1) × (forward + backward)"
    assert MaskIG.cost == "2 forward + steps × (masked forward + backward)"


def test_mask_ig_costs_a_masked_run_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgewise.engine.forward import masked_forward

    runs: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        runs.append(1)
        return masked_forward(*args, **kwargs)

    monkeypatch.setattr("edgewise.attribution.mask_ig.masked_forward", counted)
    subject("gpt2").context(pairs().trimmed().clean.shape[1])
    with counting(subject("gpt2")) as counts:
        ew.attribute(subject("gpt2"), pairs(), method="mask-ig", steps=3, batch_size=5)
    assert (len(runs), counts["forward"]) == (3, 2)


# -- the mask's path --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "how"), [(name, "corrupted") for name in FAMILIES] + [("llama", "mean"), ("gemma2", "position-mean")]
)
def test_scores_along_the_mask_sum_to_the_whole_effect(family: str, how: str) -> None:
    on, of = without_jumps(family), pairs()[:2]
    # Without norms to hold them back the logits are a steep function of the mask; with ReLUs their gradient jumps.
    steps = 160 if family in ("toy-without-norms", "opt") else 32
    scores = ew.attribute(on, of, method="mask-ig", steps=steps, ablation=how)
    report = ew.evaluate(on, ew.Circuit(on.graph, torch.zeros_like(on.graph.edge_mask)), of, ablation=how)
    whole = report["logit_diff"].clean - report["logit_diff"].corrupted
    assert abs(float(scores.values.double().sum()) - whole) < 2e-3 * float(scores.values.abs().sum())


def test_and_get_there_as_steps_grow() -> None:
    on, of = subject("gpt2", torch.float64), pairs()[:2]
    report = ew.evaluate(on, ew.Circuit(on.graph, torch.zeros_like(on.graph.edge_mask)), of)
    whole = report["logit_diff"].clean - report["logit_diff"].corrupted
    errors = []
    for steps in (1, 4, 8):  # with 16 only the rounding of the scores to float32 is left
        scores = ew.attribute(on, of, method="mask-ig", steps=steps)
        errors.append(abs(float(scores.values.double().sum()) - whole))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
