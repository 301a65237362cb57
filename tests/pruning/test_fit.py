"""The optimisation loop: what it minimises, that it stops and goes on, and what it leaves behind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from safetensors.torch import load_file
from support.families import FAMILIES, corrupted_run, pairs, subject
from support.thinned import thinned

import edgewise as ew
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.errors import FileError, InvalidValue, NumericalError
from edgewise.metrics import Metric
from edgewise.models import Subject
from edgewise.pruning.gate_layout import EdgeGates
from edgewise.pruning.gates import HardConcrete
from edgewise.pruning.history import History, Record, read_history
from edgewise.pruning.history_plot import draw_curves
from edgewise.pruning.objective import Draw, FallingCount, Lagrangian, Price
from edgewise.pruning.training import PartialAdam, Training

T = TypeVar("T")
QUICK: dict[str, Any] = {"steps": 12, "batch": 2}


class Killed(Exception):
    pass


def killing(after: int) -> Any:
    """A Track that fails when it has seen so many training steps."""

    def track(steps: Iterable[T], total: int, label: str, detail: Callable[[T], str] | None = None) -> Iterable[T]:
        for number, step in enumerate(steps):
            if number == after and label == "training gates":
                raise Killed
            yield step
            assert detail is None or detail(step)

    return track


# -- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_edges_drawn_closed_need_not_be_computed(family: str) -> None:
    """Gradients of the logits, with only what is open computed, are those of the whole masked run."""
    on, of = subject(family, torch.float64), pairs()
    layout, replacement = EdgeGates(on.graph, on.graph.edge_mask), corrupted_run(on, pairs())
    logits = torch.full((layout.gates,), -2.5, dtype=torch.float64, requires_grad=True)
    gradients = []
    for only_open in (True, False):
        mask = layout.mask(HardConcrete().draw(logits, torch.Generator().manual_seed(2)))
        candidates = (mask.detach() != 0) if only_open else on.graph.edge_mask
        assert 0 < int((mask != 0).sum()) < on.graph.n_edges // 2
        out = masked_forward(on, of.clean, of.positions, Mask(mask, candidates=candidates), replacement)
        gradients += torch.autograd.grad(out.log_softmax(dim=-1)[:, 3].sum(), logits)
    assert bool(gradients[0].any())
    assert torch.allclose(*gradients, atol=1e-9)


def test_the_lagrangian_by_hand() -> None:
    # 10 edges, 4 open: s = 0.6. From 0.2 to 0.8 in 3 steps: t = 0.4, 0.6, 0.8, 0.8. 2 · 0.2 + 3 · 0.2² = 0.52 at the first.
    penalty = Lagrangian(10, 0.2, 0.8, 3)
    draw = Draw(torch.zeros(10), torch.tensor([1.0, 1.0, 1.5, 0.5]))
    multipliers = torch.tensor([2.0, 3.0], requires_grad=True)
    value = penalty.value(draw, 0, [multipliers[0], multipliers[1]])
    assert float(value.detach()) == pytest.approx(0.52)
    assert torch.autograd.grad(value, multipliers)[0].tolist() == pytest.approx([0.2, 0.04])
    assert [penalty.target(step) for step in range(5)] == pytest.approx([0.4, 0.6, 0.8, 0.8, 0.8])
    assert Lagrangian(10, 0.2, 0.8, 0).target(0) == 0.8


def test_a_price_is_what_open_gates_cost() -> None:
    gates = HardConcrete()
    price = Price(5.0, torch.tensor([0.75, 0.25]), gates)
    logits = torch.tensor([0.0, 2.0])
    openness = [1 / (1 + math.exp(-1.59860)), 1 / (1 + math.exp(-3.59860))]  # T · ln 11 = 1.59860
    expected = 5 * (0.75 * openness[0] + 0.25 * openness[1])
    assert float(price.value(Draw(logits, logits), 7, [])) == pytest.approx(expected, abs=1e-4)


def test_the_schedule_of_learning_rates() -> None:
    training = Training(steps=10, rate=1.0, warmup=2, final_rate=0.2, approach=0.6)
    assert [round(training.share(step), 3) for step in (0, 1, 2, 6, 9)] == [0.5, 1.0, 1.0, 0.6, 0.3]
    half = training.shortened(0.5)
    assert (half.steps, half.approaching) == (5, 3)
    assert training.shortened(1.0) == training


def test_the_falling_count_by_hand() -> None:
    # From 100 edges to 4 of 1,000 in 2 steps: a fifth of them a step, 20 and 4, and 4 from then on.
    count = FallingCount.between(1000, 100, 4, 2)
    assert [count.room(step) for step in range(4)] == [20, 4, 4, 4]
    assert count.target(0) == pytest.approx(0.98)
    assert FallingCount.between(1000, 100, 4, 0).room(0) == 4
    logits = torch.tensor([1.0, -2.0], requires_grad=True)
    assert torch.autograd.grad(count.value(Draw(logits, logits), 0, []), logits)[0].tolist() == [0, 0]


def test_which_circuits_are_compared() -> None:
    # The target is held for 40 of 100 steps; four circuits over the last two thirds of them lie 6 steps apart.
    training = Training(steps=100, rate=1.0, approach=0.6, compared=4)
    assert list(training.compared_steps) == [81, 87, 93, 99]
    assert list(Training(steps=3, rate=1.0, compared=6).compared_steps) == [0, 1, 2]
    assert not Training(steps=7, rate=1.0).compared_steps


def test_a_step_of_partial_adam_by_hand() -> None:
    # m = g and v = g² in the first step. Of 3, 4 and two zeros mean(v) is 6.25: own scales give 1, one scale 3/2.5 and 4/2.5.
    for own, expected in ((1.0, [-1.0, 1.0, 0, 0]), (0.0, [-1.2, 1.6, 0, 0]), (0.5, [-(1.2**0.5), 1.6**0.5, 0, 0])):
        parameter = torch.nn.Parameter(torch.zeros(4))
        update = PartialAdam(own=own)
        optimizer = update.optimizer([{"params": [parameter], "lr": 1.0}])
        parameter.grad = torch.tensor([3.0, -4, 0, 0])
        assert float(update.prepare([parameter])) == pytest.approx(5)
        optimizer.step()
        assert parameter.tolist() == pytest.approx(expected)
    # Then a gradient of 0: m = .9 · .1 g / (1 − .81), v = .99 · .01 g² / (1 − .9801), each gate with its own scale.
    optimizer = PartialAdam(own=1.0).optimizer(
        [{"params": [parameter := torch.nn.Parameter(torch.zeros(1))], "lr": 1.0}]
    )
    for gradient in (2.0, 0.0):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    assert parameter.item() == pytest.approx(-1 - 0.09 / 0.19 / (0.0099 / 0.0199) ** 0.5)


@pytest.mark.parametrize("gated", ["edges", "edges+writers"])
def test_at_last_only_the_wanted_edges_are_open(gated: str, tmp_path: Path) -> None:
    how = {"method": "edge-pruning", "edges": 30, "gated": gated, "history": str(tmp_path / "history"), **QUICK}
    ew.discover(subject("gpt2"), pairs(), **how)
    records = read_history(tmp_path / "history")
    assert records[0].edges > 150
    assert records[-1].edges <= 30


@pytest.mark.parametrize("family", FAMILIES)
def test_open_gates_are_the_clean_model(family: str, tmp_path: Path) -> None:
    """Published gates start so far open that the first step runs the clean model: KL 0, and nothing but decay moves them."""
    path = tmp_path / "history"
    how = {"method": "edge-pruning", "preset": "published", "batch": 5, "steps": 2, "history": str(path)}
    ew.discover(subject(family), pairs(), sparsity=0.5, seed=3, **how)
    first = read_history(path)[0]
    assert first.edges == subject(family).graph.n_edges
    assert first.loss == pytest.approx(0, abs=1e-3)
    assert first.sparsity == pytest.approx(0, abs=5e-3)


# -- interruptions ----------------------------------------------------------------------------------------------------

METHODS = {
    "edge-pruning": {"sparsity": 0.9},
    "hap": {"sparsity": 0.9, "keep": 0.7},
    "subnetwork-probing": {"regularization": 3.0},
}


@pytest.mark.parametrize(("cuts", "method"), thinned([((1,),), ((5,),), ((3, 7),)], list(METHODS), one_in=3))
def test_a_killed_run_goes_on_and_ends_exactly_the_same(method: str, cuts: tuple[int, ...], tmp_path: Path) -> None:
    on, how = subject("llama"), {"method": method, **METHODS[method], **QUICK}
    whole = ew.discover(on, pairs(), history=str(tmp_path / "whole"), **how)
    checkpoint, history = tmp_path / "state", tmp_path / "history"
    files = {"checkpoint": str(checkpoint), "history": str(history)}
    for cut in cuts:
        with pytest.raises(Killed):
            ew.discover(on, pairs(), track=killing(cut), **files, **how)
        assert int(load_file(checkpoint)["step"]) == cut + 1
    again = ew.discover(on, pairs(), **files, **how)
    assert again == whole
    assert again.provenance["final"] == whole.provenance["final"]
    assert history.read_bytes() == (tmp_path / "whole").read_bytes()
    assert not checkpoint.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history", "whole"]


def test_a_run_that_is_shot_goes_on_from_its_last_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the file at any moment is a whole state: here after seven steps, of a process that knows nothing more."""
    monkeypatch.setattr("edgewise.store.checkpoint.SECONDS_BETWEEN_SAVES", -1.0)
    on, how = subject("gpt2"), {"method": "edge-pruning", "gated": "edges+writers", **QUICK}
    running, left = tmp_path / "running", tmp_path / "left"

    def track(steps: Iterable[T], total: int, label: str, detail: Callable[[T], str] | None = None) -> Iterable[T]:
        for number, step in enumerate(steps):
            if number == 6:
                left.write_bytes(running.read_bytes())
            yield step

    whole = ew.discover(on, pairs(), checkpoint=str(running), track=track, **how)
    assert int(load_file(left)["step"]) == 7
    assert ew.discover(on, pairs(), checkpoint=str(left), **how) == whole


def test_a_history_that_cannot_be_written_is_one_sentence() -> None:
    class Full:
        name = "history.jsonl"

        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

    nothing = float("nan")
    with pytest.raises(FileError, match=r"history.jsonl cannot be written: no space left on device"):
        History([], Full()).add(Record(1, 0.0, 0.0, nothing, nothing, nothing, 1, 0.0))  # type: ignore[arg-type]


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path, how = tmp_path / "state", {"method": "edge-pruning", **QUICK}
    with pytest.raises(Killed):
        ew.discover(subject("gpt2"), pairs(), track=killing(3), checkpoint=str(path), **how)
    before = path.read_bytes()
    others: list[tuple[Subject, dict[str, Any]]] = [
        (subject("llama"), {}),
        (subject("gpt2"), {"seed": 1}),
        (subject("gpt2"), {"edges": 9}),
        (subject("gpt2"), {"batch": 3}),
        (subject("gpt2"), {"ablation": "zero"}),
    ]
    for on, change in others:
        with pytest.raises(FileError, match="the checkpoint of another run"):
            ew.discover(on, pairs(), checkpoint=str(path), **{**how, **change})
    assert path.read_bytes() == before
    path.write_text("something else")
    with pytest.raises(FileError, match="is not a checkpoint of edgewise"):
        ew.discover(subject("gpt2"), pairs(), checkpoint=str(path), **how)
    with pytest.raises(FileError, match="cannot be written"):
        ew.discover(subject("gpt2"), pairs(), checkpoint=str(tmp_path / "missing" / "state"), **how)


def test_nan_stops_the_run_with_the_step_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    calls: list[int] = []

    def breaks(logits: torch.Tensor, answers: object, clean: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        # Clean and replaced prompts are looked at before.
        return logits[:, 0] * (math.nan if len(calls) == 8 else 1)

    path = tmp_path / "state"
    how = {"method": "edge-pruning", "metric": Metric("breaks", breaks), "checkpoint": str(path), **QUICK}
    with pytest.raises(
        NumericalError, match=r"stopped at step 6: the metric breaks is nan for .*state holds the last good"
    ):
        ew.discover(subject("gpt2"), pairs(), **how)
    saved = load_file(path)
    assert int(saved["step"]) == 5
    assert all(
        bool(tensor.isfinite().all())
        for name, tensor in saved.items()
        if tensor.is_floating_point() and name != "records"
    )


def test_learning_rates_that_run_away_are_said() -> None:
    with pytest.raises(NumericalError, match=r"stopped at step 1: .*learning rate of 1e\+07; lower the rate"):
        ew.discover(subject("gpt2"), pairs(), method="edge-pruning", learning_rate=1e7, **QUICK)


# -- what is written --------------------------------------------------------------------------------------------------


def test_the_history_tells_every_step(tmp_path: Path) -> None:
    path, curves = tmp_path / "history.jsonl", tmp_path / "curves.svg"
    ew.discover(
        subject("gpt2"), pairs(), method="edge-pruning", sparsity=0.8, history=str(path), curves=str(curves), **QUICK
    )
    records = read_history(path)
    assert [record.step for record in records] == list(range(1, 13))
    assert records[-1].target == pytest.approx(
        1 - round(0.2 * subject("gpt2").graph.n_edges) / subject("gpt2").graph.n_edges
    )
    assert json.loads(path.read_text().splitlines()[0])["loss"] == records[0].loss
    assert all(name in str(records[4]) for name in ("step 5", "loss", "sparsity", "edges"))
    assert "λ" not in str(records[4])  # nothing but the published training has multipliers
    assert ", λ 0.5 2, " in str(replace(records[4], linear=0.5, quadratic=2.0))
    assert curves.read_text().startswith("<?xml")
    assert draw_curves(records, tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_history_without_a_target_has_none(tmp_path: Path) -> None:
    path = tmp_path / "history"
    ew.discover(subject("gpt2"), pairs(), method="subnetwork-probing", history=str(path), **QUICK)
    assert "target" not in path.read_text()
    assert math.isnan(read_history(path)[0].target)
    path.write_text("[]\n")
    with pytest.raises(FileError, match="not the history"):
        read_history(path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"curves": "a.txt"}, InvalidValue, r"\.svg or \.png"),
        ({"curves": "missing/a.svg"}, FileError, "no such folder"),
        ({"history": "missing/a"}, FileError, "cannot be written"),
    ],
)
def test_files_that_cannot_be_written_are_refused_first(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        ew.discover(subject("gpt2"), pairs(), method="edge-pruning", track=killing(0), **options, **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_what_depends_on_chance_depends_on_the_seed_alone() -> None:
    on, how = subject("gpt2"), {"method": "edge-pruning", "sparsity": 0.8, **QUICK}
    first, torch_state = ew.discover(on, pairs(), seed=1, **how), torch.get_rng_state()
    torch.manual_seed(123)
    try:
        assert ew.discover(on, pairs(), seed=1, **how) == first
        assert ew.discover(on, pairs(), seed=2, **how) != first
    finally:
        torch.set_rng_state(torch_state)


def test_numbers_survive_the_checkpoint() -> None:
    from edgewise.pruning.history import History, from_tensor

    record = Record(3, 0.1, 0.5, math.nan, -1.0, 2.0, 40, 0.3)
    (back,) = from_tensor(History([record]).to_tensor(1))
    assert str(back) == str(record)
    assert (back.step, back.edges, back.loss) == (3, 40, 0.1)
