"""Uniform gradient sampling: its sampler and estimator by hand, its steps beside a slow twin, and what a run promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.counted_runs import counting
from support.families import FAMILIES, corrupted_run, distance, make_subject, pairs, subject, toy_config
from support.thinned import thinned
from torch import Tensor

import edgewise as ew
from edgewise.ablations import ABLATIONS, ablation
from edgewise.engine.forward import masked_forward
from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import EdgewiseError, FileError, InvalidValue, NothingScored, NumericalError, UnknownName
from edgewise.graph import Graph
from edgewise.metrics import METRICS, Metric
from edgewise.metrics import metric as find_metric
from edgewise.progress import silent
from edgewise.pruning.batch_cache import BatchCache, CleanBatch
from edgewise.pruning.gate_layout import EdgeGates
from edgewise.pruning.gates import Uniform
from edgewise.pruning.history import read_history
from edgewise.pruning.objective import Draw, ExpectedEdges
from edgewise.pruning.optimization import Optimization, Problem
from edgewise.pruning.training import Adam, Training
from edgewise.pruning.ugs import UGS
from edgewise.request import Request

QUICK: dict[str, Any] = {"method": "ugs", "steps": 12, "batch": 2}
every_family = pytest.mark.parametrize("family", FAMILIES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Killed(Exception):
    pass


def killing(after: int) -> Any:
    """A Track that fails when it has seen so many training steps."""

    def track(
        steps: Iterable[Any], total: int, label: str, detail: Callable[[Any], str] | None = None
    ) -> Iterable[Any]:
        for number, step in enumerate(steps):
            if number == after and label == "training gates":
                raise Killed
            yield step

    return track


# -- the sampler and the estimator ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    # p = 1/2: w = 1/4. p = 3/4: w = 3/16. Open with p − w/2, closed with 1 − p − w/2.
    ("logit", "open_", "between", "closed"),
    [(0.0, 3 / 8, 1 / 4, 3 / 8), (math.log(3), 21 / 32, 6 / 32, 5 / 32)],
)
def test_draws_are_open_closed_and_between_as_often_as_stated(
    logit: float, open_: float, between: float, closed: float
) -> None:
    drawn = Uniform().draw(torch.tensor([logit]), generator(), 200_000)
    assert drawn.shape == (200_000, 1)
    # Four standard deviations of a share of 200,000 draws are at most 0.0045.
    shares = [(drawn == 1), (drawn > 0) & (drawn < 1), (drawn == 0)]
    assert [float(share.float().mean()) for share in shares] == pytest.approx([open_, between, closed], abs=0.0045)
    assert float(drawn.mean()) == pytest.approx(1 / (1 + math.exp(-logit)), abs=0.0045)
    inside = drawn[(drawn > 0) & (drawn < 1)]
    # Uniform: mean 1/2, variance 1/12, a tenth of them below 1/10.
    assert float(inside.mean()) == pytest.approx(0.5, abs=0.006)
    assert float(inside.var()) == pytest.approx(1 / 12, abs=0.002)
    assert float((inside < 0.1).float().mean()) == pytest.approx(0.1, abs=0.006)


def test_a_draw_and_its_gradient_by_hand() -> None:
    noise = torch.rand(3, 2, generator=generator(5))
    logits = torch.tensor([0.0, math.log(3)], requires_grad=True)
    drawn = Uniform().draw(logits, generator(5), 3)
    expected = [
        [min(1.0, max(0.0, 0.5 + (p - float(u)) / (p * (1 - p)))) for p, u in zip((0.5, 0.75), row, strict=True)]
        for row in noise
    ]
    assert torch.allclose(drawn, torch.tensor(expected), atol=1e-6)
    # Slopes 3, 5, 7 of a mean over three examples: the mean of those between, times p (1 − p).
    slopes = torch.tensor([3.0, 5.0, 7.0])
    (gradient,) = torch.autograd.grad((drawn * slopes[:, None]).sum() / 3, logits)
    for gate, scale in enumerate((0.25, 0.1875)):
        between = [float(s) for s, row in zip(slopes, expected, strict=True) if 0 < row[gate] < 1]
        mean = sum(between) / len(between) if between else 0.0
        assert float(gradient[gate]) == pytest.approx(scale * mean, abs=1e-6)


@pytest.mark.parametrize("examples", [1, 6])
@pytest.mark.parametrize(
    "loss", [lambda z: z, lambda z: z**2, lambda z: 4 * z**3 - 3 * z**2, torch.square], ids=["z", "z²", "4z³−3z²", "sq"]
)
def test_the_mean_estimate_is_the_derivative_of_the_expected_loss(
    loss: Callable[[Tensor], Tensor], examples: int
) -> None:
    """loss(0) = 0 and loss(1) = 1, so ∂E[loss]/∂p = 1 whatever is between: p (1 − p), where a sample is between at all.

    Of a product of two gates the derivative in the first is the mean of the second, p₂: a mixture has the mean of its coin.
    """
    p, repeats = torch.tensor([0.5, 0.75]), 20_000
    logits = p.logit().requires_grad_()
    total = torch.zeros(2)
    for number in range(repeats // 100):
        # A hundred steps beside one another: gates [step, gate] of their own.
        many = logits.expand(100, 2).contiguous()
        drawn = Uniform().draw(many, generator(number), examples)
        value = loss(drawn[..., 0]) * drawn[..., 1]
        total += torch.autograd.grad(value.mean(dim=0).sum(), logits)[0]
    window = p * (1 - p)
    some = 1 - (1 - window) ** examples
    # loss(z₁) z₂: the first gate's derivative is p₂, that of the second E[loss(z₁)].
    of_second = (p[0] - window[0] / 2) + window[0] * float(loss(torch.linspace(0, 1, 100_001)).mean())
    expected = window * some * torch.tensor([p[1], of_second])
    # Standard errors are below 0.001.
    assert (total / repeats).tolist() == pytest.approx(expected.tolist(), abs=0.004)


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([-1e4, -50.0, 50.0, 1e4], requires_grad=True)
    drawn = Uniform().draw(logits, generator(), 50)
    assert drawn.detach().unique(dim=0).tolist() == [[0, 0, 1, 1]]
    assert torch.autograd.grad(drawn.sum(), logits)[0].tolist() == [0, 0, 0, 0]


def test_expected_edges_by_hand() -> None:
    """input; a0.h0, a0.h1, m0: 13 edges. A head has three edges in and two out (m0, logits)."""
    graph = Graph(1, 2, 2)
    layout = EdgeGates(graph, graph.edge_mask)
    logits = torch.zeros(13, requires_grad=True)
    value = ExpectedEdges(layout, 0.1, 0.04).value(Draw(logits, logits), 0, [])
    # 0.1 · 6.5 + 0.04 · 2 heads · 2/2 · tanh(2 · 2.5 / 2)
    assert float(value.detach()) == pytest.approx(0.65 + 0.08 * math.tanh(2.5), rel=1e-6)
    assert ExpectedEdges(layout, 0.1, 0.04).target(3) is None
    (gradient,) = torch.autograd.grad(value, logits)
    slope = dict(zip(graph.edges, gradient[layout.mask(torch.arange(13.0))[graph.edge_mask].long()], strict=True))
    # λ · 1/4, and ν · (1 − tanh²(2.5)) · 1/4 for an edge of one head.
    extra = 0.04 * (1 - math.tanh(2.5) ** 2) / 4
    assert float(slope["m0->logits"]) == pytest.approx(0.025)
    assert float(slope["input->a0.h1<k>"]) == pytest.approx(0.025 + extra)
    assert float(slope["a0.h0->logits"]) == pytest.approx(0.025 + extra)


def test_a_shared_key_counts_for_every_head_of_its_group() -> None:
    graph = Graph(1, 2, 1)
    layout = EdgeGates(graph, graph.edge_mask)
    logits = torch.full((layout.gates,), -20.0)
    edges = dict(zip(graph.edges, range(layout.gates), strict=True))
    logits[edges["input->a0.kv0<k>"]] = 20.0
    value = ExpectedEdges(layout, 0.0, 1.0).value(Draw(logits, logits), 0, [])
    assert float(value) == pytest.approx(2 * math.tanh(1.0), abs=1e-5)


# -- a step beside its slow twin --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "family"), thinned([(how,) for how in ABLATIONS], FAMILIES, one_in=3))
def test_a_step_is_one_run_for_each_example(family: str, how: str) -> None:
    """The gradient of a step, from one masked run for each example: the mean slope where its mask is between 0 and 1."""
    on, of = subject(family, torch.float64), pairs()
    request = Request(on, of, find_metric("kl"), ablation(how), 5, silent)
    layout = EdgeGates(on.graph, on.graph.edge_mask)
    training = Training(steps=1, rate=0.1, start=-0.5, spread=1.0, gates=Uniform())
    run = Optimization(Problem(layout, ExpectedEdges(layout, 2e-3, 1e-3), training, seed=4), BatchCache(request))
    logits = run.logits.detach().clone()
    (ready,), twin = BatchCache(request), torch.Generator()
    twin.set_state(_after_the_order(run))
    p = logits.sigmoid()
    masks = layout.mask(Uniform().draw(logits, twin, 5)).double()
    slopes = torch.stack([_slope(ready, mask, example) for example, mask in enumerate(masks)])
    between = (masks > 0) & (masks < 1)
    mean = (slopes * between).sum(dim=0) / between.sum(dim=0).clamp(min=1)
    priced = logits.clone().requires_grad_()
    (price,) = torch.autograd.grad(run.problem.penalty.value(Draw(priced, priced), 0, []), priced)
    expected = mean[on.graph.edge_mask] * p * (1 - p) + price
    record = run.advance()
    assert run.logits.grad is not None
    assert distance(run.logits.grad, expected) < 1e-4
    assert bool(mean.any())
    assert record.edges == round(float((masks != 0).sum()) / 5)
    assert record.sparsity == pytest.approx(1 - float(masks.sum()) / 5 / on.graph.n_edges, abs=1e-6)


def _after_the_order(run: Optimization) -> Tensor:
    """The random state when the gates of the first step are drawn: after the order of the batches."""
    twin = torch.Generator()
    twin.set_state(run.generator.get_state())
    torch.randperm(1, generator=twin)
    return twin.get_state()


def _slope(ready: CleanBatch, mask: Tensor, example: int) -> Tensor:
    """Of one example's loss in its mask: all examples are run under it, one is looked at."""
    mask = mask.clone().requires_grad_()
    batch, pairs = ready.batch, ready.batch.pairs
    logits = masked_forward(batch.subject, pairs.clean, pairs.positions, mask, batch.replacement)
    return torch.autograd.grad(-batch.objective(logits, ready.clean)[example], mask)[0]


@every_family
def test_open_gates_are_the_clean_model(family: str) -> None:
    on, of = subject(family), pairs()
    request = Request(on, of, find_metric("kl"), ablation("corrupted"), 5, silent)
    layout = EdgeGates(on.graph, on.graph.edge_mask)
    training = Training(steps=1, rate=0.1, start=30.0, gates=Uniform())
    run = Optimization(Problem(layout, ExpectedEdges(layout, 1e-3, 5e-4), training, seed=0), BatchCache(request))
    record = run.advance()
    assert record.edges == on.graph.n_edges
    assert record.loss == pytest.approx(0, abs=1e-4)


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_it_costs_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two native forwards of every batch; in each step one masked forward and one backward, on one batch."""
    on, walks = make_subject(toy_config()), {"forward": [], "backward": 0}

    def counted(*args: Any, **options: Any) -> Tensor:
        logits = masked_forward(*args, **options)
        walks["forward"].append((len(args[1]), args[3].edges.shape[0], args[3].edges.shape[1]))  # type: ignore[attr-defined]
        logits.register_hook(lambda gradient: walks.update(backward=walks["backward"] + 1))  # type: ignore[operator]
        return logits

    monkeypatch.setattr("edgewise.pruning.batch_cache.masked_forward", counted)
    for width in range(1, 8):
        on.context(width)  # what the blocks are called with is found out once
    with counting(on) as counts:
        ew.attribute(on, pairs(), method="ugs", steps=7, batch=2, samples=3)
    assert counts["forward"] == 2 * 3
    assert counts["backward"] == 0
    # Batches of two pairs and one of one, each pair under three masks of its own.
    assert walks["backward"] == len(walks["forward"]) == 7  # type: ignore[arg-type]
    assert set(walks["forward"]) == {(6, 1, 6), (3, 1, 3)}  # type: ignore[call-overload]


def test_each_pair_stands_in_its_batch_as_often_as_asked() -> None:
    request = Request(subject("gpt2"), pairs(), find_metric("kl"), ablation("corrupted"), 8, silent)
    batched = UGS(batch=2, samples=3).batched(request)
    assert batched.batch_size == 6
    assert torch.equal(batched.pairs.clean, pairs().clean[[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]])
    assert UGS(batch=2).batched(request).pairs is pairs()


# -- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ABLATIONS)
def test_scores_are_probabilities(how: str) -> None:
    on = subject("llama")
    scores = ew.attribute(on, pairs(), ablation=how, **QUICK)
    inside = scores.values[on.graph.edge_mask]
    assert float(inside.min()) > 0
    assert float(inside.max()) < 1
    assert not scores.values[~on.graph.edge_mask].any()
    circuit = ew.discover(on, pairs(), ablation=how, edges=40, **QUICK)
    assert circuit == scores.top(40).without_dangling()


@pytest.mark.parametrize(
    "loss", ["kl", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("logit_diff", "nll"))]
)
def test_longer_training_finds_better_circuits_than_none(loss: str) -> None:
    on = subject("gpt2")

    def kept(steps: int) -> float:
        scores = ew.attribute(on, pairs(), method="ugs", steps=steps, loss=loss, batch=5, samples=2)
        one = ew.evaluate(on, scores.top(80), pairs(), metrics=[loss])[loss].circuit
        return one if find_metric(loss).sign > 0 else -one

    assert kept(80) > kept(1)


def test_the_loss_is_kl_whatever_the_metric_of_the_run() -> None:
    on = subject("gpt2")
    by = [ew.attribute(on, pairs(), metric=metric, **QUICK) for metric in ("logit_diff", "nll", "kl")]
    assert torch.equal(by[0].values, by[1].values)
    assert torch.equal(by[0].values, by[2].values)
    assert {one.provenance["metric"] for one in by} == {"kl"}
    other = ew.attribute(on, pairs(), loss="nll", **QUICK)
    assert not torch.equal(by[0].values, other.values)
    assert other.provenance["metric"] == "nll"


def test_the_dearer_an_edge_the_fewer_are_kept() -> None:
    on = subject("gpt2")
    sums = [
        float(ew.attribute(on, pairs(), method="ugs", steps=60, batch=5, regularization=price).values.sum())
        for price in (0.0, 1e-2, 1.0)
    ]
    assert sums[0] > sums[1] > sums[2]


def test_a_head_without_use_goes_with_all_its_edges() -> None:
    """The surcharge alone, on one head with few edges left and one with many."""
    graph = Graph(2, 2, 2)
    layout = EdgeGates(graph, graph.edge_mask)
    open_ = torch.full(graph.edge_mask.shape, 0.9)
    for edge in graph.edges:
        if "a0.h0" in edge:
            open_[graph.edge_index(edge)] = 0.01
    logits = open_[graph.edge_mask].logit().requires_grad_()
    (gradient,) = torch.autograd.grad(ExpectedEdges(layout, 0.0, 1.0).value(Draw(logits, logits), 0, []), logits)
    slope = layout.mask(gradient) / (open_ * (1 - open_))
    rare, common = (float(slope[graph.edge_index(f"input->a0.{head}<v>")]) for head in ("h0", "h1"))
    # Three edges in; out: m0, three readers of two heads, m1, logits: S = 12 · 0.01, and 12 · 0.9.
    assert rare == pytest.approx(1 - math.tanh(2 * 0.12 / 4) ** 2, rel=1e-4)
    assert 0 < common < 0.01 * rare


def test_what_depends_on_chance_depends_on_the_seed_alone() -> None:
    on = subject("gpt2")
    first, torch_state = ew.attribute(on, pairs(), seed=1, **QUICK).values, torch.get_rng_state()
    torch.manual_seed(123)
    try:
        assert torch.equal(ew.attribute(on, pairs(), seed=1, **QUICK).values, first)
        assert not torch.equal(ew.attribute(on, pairs(), seed=2, **QUICK).values, first)
    finally:
        torch.set_rng_state(torch_state)
    assert ew.stability(on, pairs(), seeds=2, edges=30, **QUICK).mean <= 1


@pytest.mark.parametrize("cuts", [(1,), (5,), (3, 8)])
def test_a_killed_run_goes_on_and_ends_exactly_the_same(cuts: tuple[int, ...], tmp_path: Path) -> None:
    on = subject("llama")
    whole = ew.attribute(on, pairs(), history=str(tmp_path / "whole"), **QUICK)
    checkpoint, history = tmp_path / "state", tmp_path / "history"
    files = {"checkpoint": str(checkpoint), "history": str(history)}
    for cut in cuts:
        with pytest.raises(Killed):
            ew.attribute(on, pairs(), track=killing(cut), **files, **QUICK)
        assert int(load_file(checkpoint)["step"]) == cut + 1
    with pytest.raises(FileError, match="the checkpoint of another run"):
        ew.attribute(on, pairs(), **files, regularization=0.5, **QUICK)
    again = ew.attribute(on, pairs(), **files, **QUICK)
    assert torch.equal(again.values, whole.values)
    assert history.read_bytes() == (tmp_path / "whole").read_bytes()
    assert not checkpoint.exists()


def test_the_history_tells_every_step(tmp_path: Path) -> None:
    files = {"history": str(tmp_path / "h.jsonl"), "curves": str(tmp_path / "c.svg")}
    scores = ew.attribute(subject("gpt2"), pairs(), **files, **QUICK)
    records = read_history(tmp_path / "h.jsonl")
    assert [record.step for record in records] == list(range(1, 13))
    assert math.isnan(records[-1].target)
    assert (tmp_path / "c.svg").exists()
    options = scores.provenance["options"]
    assert (options["steps"], options["loss"], options["regularization"]) == (12, "kl", 1e-3)
    assert not set(files) & set(options)


def test_nan_stops_the_run_with_the_step_and_keeps_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def breaks(logits: Tensor, answers: object, clean: Tensor) -> Tensor:
        calls.append(1)
        return logits[:, 0] * (math.nan if len(calls) == 6 else 1)

    monkeypatch.setitem(METRICS, "breaks", Metric("breaks", breaks))
    path = tmp_path / "state"
    with pytest.raises(NumericalError, match=r"stopped at step 6: the metric breaks is nan for .*state holds the last"):
        ew.attribute(subject("gpt2"), pairs(), loss="breaks", checkpoint=str(path), **QUICK)
    saved = load_file(path)
    assert int(saved["step"]) == 5
    assert bool(saved["parameter.0"].isfinite().all())


def test_the_published_settings_have_a_name() -> None:
    published = UGS(preset="published").training
    assert (published.steps, published.batch, published.samples, published.rate) == (3000, 5, 12, 0.01)
    assert (published.start, published.spread, published.update) == (1.0, 0.0, Adam(clip=5.0, second=0.995))
    assert UGS().regularization == 1e-3
    assert UGS(preset="published", samples=2, batch=3, learning_rate=0.02).training.samples == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"regularization": -1}, InvalidValue, "regularization=-1 must be a number of at least 0"),
        ({"regularization": math.nan}, InvalidValue, "regularization=nan"),
        ({"regularization": "much"}, InvalidValue, "regularization must be a number, not 'much'"),
        ({"loss": "kll"}, UnknownName, "did you mean 'kl'"),
        ({"loss": "accuracy"}, NumericalError, "accuracy, whose gradient is zero"),
        ({"samples": 0}, InvalidValue, "samples=0 must be at least 1"),
        ({"steps": 0}, InvalidValue, "steps=0 must be at least 1"),
        ({"learning_rate": 1e7}, NumericalError, "lower the rate"),
        ({"preset": "publisht"}, UnknownName, "did you mean 'published'"),
        ({"seed": -1}, InvalidValue, "seed=-1"),
        ({"lamb": 1}, InvalidValue, "the method ugs has no option 'lamb'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[EdgewiseError], message: str) -> None:
    with pytest.raises(error, match=message):
        ew.attribute(subject("gpt2"), pairs(), **{**QUICK, **options})


def test_prompts_that_do_not_differ_score_nothing() -> None:
    of = replace(pairs(), corrupted=pairs().clean)
    for family in ("gpt2", "llama"):
        with pytest.raises(NothingScored, match="clean and corrupted prompts are the same in all 5 pairs"):
            ew.attribute(subject(family), of, **QUICK)
        # The method by itself notices that training saw nothing.
        request = Request(subject(family), of, find_metric("kl"), ablation("corrupted"), 8, silent)
        with pytest.raises(NothingScored, match="nothing but the price of edges"):
            UGS(steps=12, batch=2).scores(request)


def test_a_sweep_and_single_examples_are_refused() -> None:
    with pytest.raises(InvalidValue, match="nothing to sweep"):
        ew.sweep(subject("gpt2"), pairs(), **QUICK)
    from edgewise.evaluation.bootstrap import bootstrap

    with pytest.raises(InvalidValue, match="no scores that are means over the examples"):
        bootstrap(subject("gpt2"), pairs(), edges=20, method=UGS(steps=2))


def test_a_workspace_is_reused_between_batches_of_other_sizes() -> None:
    """The last batch is smaller: what the larger one left in memory changes nothing."""
    on, of = subject("gpt2"), pairs()
    replacement = corrupted_run(on, of)
    masks = torch.rand(1, 5, *on.graph.edge_mask.shape, generator=generator(3)) * on.graph.edge_mask
    workspace = Workspace()
    masked_forward(
        on, of.clean, of.positions, torch.ones(3, *on.graph.edge_mask.shape), replacement, workspace=workspace
    )
    first = masked_forward(on, of.clean, of.positions, masks, replacement, workspace=workspace)
    assert torch.equal(first, masked_forward(on, of.clean, of.positions, masks, replacement))
