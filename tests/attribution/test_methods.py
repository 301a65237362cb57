"""Attribution methods: what each computes, what each refuses, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.counted_runs import counting
from support.families import CONFIGS, FAMILIES, corrupted_run, make_subject, pairs, subject, toy_config
from torch import Tensor

import edgewise as ew
from edgewise.ablations import ABLATIONS, ablation
from edgewise.attribution import ATTRIBUTIONS
from edgewise.attribution.eap import EAP
from edgewise.engine.forward import masked_forward
from edgewise.engine.tiling import PROCESSOR, using_tiling
from edgewise.errors import EdgewiseError, InvalidValue, NumericalError, PairsError, UnknownName
from edgewise.metrics import METRICS, Answers, Metric
from edgewise.models import Subject
from edgewise.pairs import Pairs

every_family = pytest.mark.parametrize("family", FAMILIES)


# -- exact is what it says it is ----------------------------------------------------------------------------------------


def measured(on: Subject, of: Pairs, metric: Metric, how: str) -> dict[str, float]:
    """The drop of the metric when one edge alone is replaced, one masked run each, for every fifth edge."""
    replacement = ablation(how).prepare(on, of, 8)(of)
    answers, clean_logits = Answers(of.correct, of.wrong), on.logits(of.clean, of.positions)
    clean = metric.objective(clean_logits, answers, clean_logits).double().mean()
    drops = {}
    for edge in on.graph.edges[::5]:
        mask = on.graph.edge_mask.clone()
        mask[on.graph.edge_index(edge)] = False
        logits = masked_forward(on, of.clean, of.positions, mask, replacement)
        drops[edge] = float(clean - metric.objective(logits, answers, clean_logits).double().mean())
    return drops


@every_family
def test_exact_is_one_masked_run_for_each_edge(family: str) -> None:
    on, of = subject(family), pairs()
    expected = measured(on, of, METRICS["logit_diff"], "corrupted")
    largest = max(map(abs, expected.values()))
    scores = ew.attribute(on, of, method="exact", batch_size=2)
    for edge, drop in expected.items():
        assert abs(scores[edge] - drop) < 1e-5 * largest + 1e-6, edge


@pytest.mark.parametrize("family", ["toy", "llama", "gemma2"])
@pytest.mark.parametrize(("metric", "how"), [("kl", "zero"), ("prob_diff", "mean"), ("nll", "position-mean")])
def test_exact_with_other_metrics_and_ablations(family: str, metric: str, how: str) -> None:
    on, of = subject(family), pairs()
    expected = measured(on, of, METRICS[metric], how)
    largest = max(map(abs, expected.values()))
    scores = ew.attribute(on, of, method="exact", metric=metric, ablation=how)
    for edge, drop in expected.items():
        assert abs(scores[edge] - drop) < 1e-5 * largest + 1e-6, edge


def test_exact_in_pieces_is_exact() -> None:
    expected = ew.attribute(subject("gpt2"), pairs(), method="exact").values
    with using_tiling(replace(PROCESSOR, patched_tokens=80)):
        found = ew.attribute(subject("gpt2"), pairs(), method="exact").values
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "toy"])
@pytest.mark.parametrize("how", ["corrupted", "mean"])
def test_eap_in_pieces_is_eap(family: str, how: str) -> None:
    """Work is cut into chunks of tokens; tiny chunks must give what one big chunk gives."""
    on = subject(family)
    expected = ew.attribute(on, pairs(), method="eap", ablation=how).values
    with using_tiling(replace(PROCESSOR, chunk_bytes=20_000)):
        found = ew.attribute(on, pairs(), method="eap", ablation=how).values
    torch.testing.assert_close(found, expected)


def test_masked_runs_in_pieces_are_masked_runs() -> None:
    on, of = subject("llama", torch.float64), pairs()
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(3, *on.graph.edge_mask.shape, generator=generator, dtype=torch.float64).requires_grad_()

    def run() -> tuple[Tensor, Tensor]:
        logits = masked_forward(on, of.clean, of.positions, masks, corrupted_run(on, of))
        return logits.detach(), torch.autograd.grad(logits.square().sum(), masks)[0]

    expected = run()
    for size in (4_000, 150_000, 1_000_000):
        with using_tiling(replace(PROCESSOR, chunk_bytes=size)):
            found = run()
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("how", ABLATIONS)
@pytest.mark.parametrize("method", ["eap", "exact"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_bfloat16_gives_about_the_same(family: str, method: str, how: str) -> None:
    on = make_subject(CONFIGS[family](), dtype=torch.bfloat16)
    plain = ew.attribute(subject(family), pairs(), method=method, ablation=how)
    scores = ew.attribute(on, pairs(), method=method, ablation=how)
    assert scores.values.isfinite().all()
    assert scores.agreement(plain)["pearson"] > 0.8


@pytest.mark.parametrize(
    "method", ["eap-ig", "mask-ig", "relp", "gim", "atp-qk", "atp-graddrop", "hisp", "information-flow-routes"]
)
def test_so_do_the_other_methods(method: str) -> None:
    on = make_subject(CONFIGS["gemma2"](), dtype=torch.bfloat16)
    plain = ew.attribute(subject("gemma2"), pairs(), method=method)
    assert ew.attribute(on, pairs(), method=method).agreement(plain)["pearson"] > 0.9


# -- random -----------------------------------------------------------------------------------------------------------


def test_random_is_seeded() -> None:
    a, b, c = (ew.attribute(subject("gpt2"), pairs(), method="random", seed=seed).values for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(ew.attribute(subject("gpt2"), pairs(), method="random").values, a)


# -- names and options --------------------------------------------------------------------------------------------------


def test_underscores_are_hyphens_and_methods_are_values() -> None:
    a = ew.attribute(subject("toy"), pairs(), method="EAP".lower()).values
    assert torch.equal(ew.attribute(subject("toy"), pairs(), method=EAP()).values, a)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "eaap"}, UnknownName, "unknown method 'eaap'; did you mean 'eap'"),
        ({"metric": "logit-dif"}, UnknownName, "did you mean 'logit_diff'"),
        ({"ablation": "corupted"}, UnknownName, "did you mean 'corrupted'"),
        ({"seed": 1}, InvalidValue, "the method eap-ig has no option 'seed'; it has: steps, points"),
        ({"method": "eap", "seed": 1}, InvalidValue, "the method eap has no option 'seed'; it has: none"),
        ({"method": "exact", "steps": 1}, InvalidValue, "no option 'steps'; it has: checkpoint"),
        ({"method": EAP(), "seed": 1}, InvalidValue, "a Method has its own options; leave out"),
        ({"batch_size": 0}, InvalidValue, "batch size 0"),
        (
            {"method": "eap", "metric": "kl"},
            NumericalError,
            "cannot use kl, whose gradient is zero at the clean run; use the method eap-ig",
        ),
        ({"metric": "accuracy"}, NumericalError, "cannot use accuracy, whose gradient is zero wherever it exists"),
    ],
)
def test_refusals(changes: dict[str, Any], error: type[EdgewiseError], message: str) -> None:
    with pytest.raises(error, match=message):
        ew.attribute(subject("toy"), pairs(), **changes)


# -- numbers that are no use ------------------------------------------------------------------------------------------


def constant(logits: Tensor, answers: Answers, clean_logits: Tensor) -> Tensor:
    return logits.sum(dim=-1) * 0


def test_a_metric_whose_gradient_is_zero_is_refused() -> None:
    with pytest.raises(NumericalError, match="every score is zero: constant does not change on these pairs"):
        ew.attribute(subject("gpt2"), pairs(), metric=Metric("constant", constant))


def test_identical_prompts_are_refused() -> None:
    of = pairs()
    same = Pairs.from_tokens(of.clean, of.clean, correct=of.correct, wrong=of.wrong, positions=of.positions)
    for method in ("eap", "hisp", "exact"):
        with pytest.raises(NumericalError, match="clean and corrupted prompts are the same"):
            ew.attribute(subject("gpt2"), same, method=method)


@pytest.mark.parametrize("method", [name for name in ATTRIBUTIONS if name != "random"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused(method: str, value: float) -> None:
    on = make_subject(toy_config())
    on.model.layers[1].mlp[0].weight.data[0, 0] = value
    with pytest.raises(NumericalError, match=r"NaN or infinite logits for \d prompt"):
        ew.attribute(on, pairs(), method=method)
    with pytest.raises(NumericalError, match="NaN or infinite"):
        ew.evaluate(on, ew.Circuit.full(on.graph), pairs())


def test_metrics_that_need_wrong_answers_say_so() -> None:
    of = pairs()
    without = Pairs.from_tokens(of.clean, of.corrupted, correct=of.correct, positions=of.positions)
    for metric in ("logit_diff", "prob_diff"):
        with pytest.raises(PairsError, match="needs wrong answers"):
            ew.attribute(subject("toy"), without, metric=metric)
    assert ew.attribute(subject("toy"), without, metric="nll").values.any()


# -- cost -------------------------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("method", ["eap", "relp", "gim", "hisp"])
def test_two_forwards_and_one_backward_for_each_batch(method: str, family: str) -> None:
    on = subject(family)
    assert ATTRIBUTIONS[method].cost == "2 forward + 1 backward"
    with counting(on) as counts:
        ew.attribute(on, pairs(), method=method, batch_size=2)
    assert counts == {"forward": 6, "backward": 3, "last layer": 6}


@pytest.mark.parametrize(("method", "forwards", "backwards"), [("information-flow-routes", 1, 0), ("atp-qk", 3, 1)])
def test_other_costs(method: str, forwards: int, backwards: int) -> None:
    on = subject("gpt2")
    on.context(pairs().trimmed().clean.shape[1])
    with counting(on) as counts:
        ew.attribute(on, pairs(), method=method, batch_size=5)
    assert (counts["forward"], counts["backward"]) == (forwards, backwards)


def test_zero_ablation_needs_no_corrupted_run() -> None:
    on = subject("gpt2")
    with counting(on) as counts:
        ew.attribute(on, pairs(), method="eap", ablation="zero", batch_size=2)
    assert counts == {"forward": 3, "backward": 3, "last layer": 3}
