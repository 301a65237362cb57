"""fit: THE optimisation loop. Gates are drawn, the model runs under their mask, and Adam moves their logits.

    loss = metric(masked run, clean run) + penalty(gates),   the metric lower-is-better: KL(clean ‖ masked) by default

One draw serves all pairs of a step, or each has its own, as the gates are. Edges drawn closed for all have no gradient, so
they are not computed at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import NumericalError
from edgewise.models.hooks import steady
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.gate_layout import GateLayout
from edgewise.pruning.history import History, Record, from_tensor
from edgewise.pruning.history_plot import check_curves, draw_curves
from edgewise.pruning.objective import Draw, Penalty
from edgewise.pruning.trained_gates import TrainedGates
from edgewise.pruning.training import Training
from edgewise.ranks import current
from edgewise.request import Request
from edgewise.store.checkpoint import Checkpoint, Tensors

# A gate is open or closed for good long before its logit is this large.
LARGEST_LOGIT = 1e4


@final
@dataclass(frozen=True)
class Problem:
    """What to train: which gates, what closes them, how; `seed` of every draw and of the order of batches.

    `wanted`: how many edges there will be, for a training in which gates settle. `ahead` [gate]: how much higher than
    others logits start, times the training's `lead`.
    """

    layout: GateLayout
    penalty: Penalty
    training: Training
    seed: int
    wanted: int = 0
    ahead: Tensor | None = None


@final
@dataclass(frozen=True)
class Files:
    """What is written on the way: the state to go on from, the history, its picture. `key` says of which run."""

    key: dict[str, Any]
    checkpoint: str | None = None
    history: str | None = None
    curves: str | None = None


def fit(problem: Problem, request: Request, files: Files) -> TrainedGates:
    """Trains the gates. NumericalError with the step if numbers run away; the last good state is then kept."""
    if not request.metric.differentiable:
        raise NumericalError(
            f"training cannot use {request.metric.name}, whose gradient is zero wherever it exists; use kl or logit_diff"
        )
    check_curves(files.curves)
    checkpoint = Checkpoint(Path(files.checkpoint) if files.checkpoint else None, files.key)
    run = Optimization(problem, request)
    saved = checkpoint.read()
    if saved is not None:
        run.restore(saved)
    history = run.history = History.open(Path(files.history) if files.history else None, run.history.records)
    try:
        with checkpoint.kept_on_the_way_out(), steady(request.subject.model):
            for _ in request.track(run.records(checkpoint), problem.training.steps, "training gates", str):
                pass
    finally:
        history.close()
    if files.curves and current().first:
        draw_curves(history.records, files.curves)
    checkpoint.save()
    return TrainedGates(run.logits.detach(), problem.layout.candidates, run.feed, checkpoint, run.workspace)


@final
class Optimization:
    """One optimisation under way; between two steps it can be saved and restored."""

    def __init__(self, problem: Problem, request: Request) -> None:
        self.problem, self.feed = problem, BatchCache(request)
        self.generator = torch.Generator().manual_seed(problem.seed)
        training, device = problem.training, request.subject.device
        start = torch.randn(problem.layout.gates, generator=self.generator) * training.spread + training.start
        if problem.ahead is not None:
            start += training.lead * problem.ahead
        self.logits = nn.Parameter(start.to(device))
        self.multipliers = [nn.Parameter(torch.tensor(m, device=device)) for m in problem.penalty.multipliers]
        self.parameters = [self.logits, *self.multipliers]
        groups: list[dict[str, Any]] = [
            {"params": [self.logits], "rate": training.rate},
            {"params": self.multipliers, "rate": training.multiplier_rate, "maximize": True},
        ]
        self.optimizer = torch.optim.AdamW(
            [g for g in groups if g["params"]], betas=(0.9, training.second), weight_decay=training.decay
        )
        self.order = torch.empty(0, dtype=torch.long)
        self.step = 0
        self.workspace = Workspace()
        self.history = History()

    def records(self, checkpoint: Checkpoint) -> Iterator[Record]:
        """Train to the end; yields once for every step, those of an interrupted run first."""
        yield from list(self.history.records)
        while self.step < self.problem.training.steps:
            try:
                record = self.advance()
            except NumericalError as error:
                kept = f"; {checkpoint.path} holds the last good state" if checkpoint.path and self.step else ""
                raise NumericalError(f"training stopped at step {self.step + 1}: {error}{kept}") from None
            self.history.add(record)
            if checkpoint.path is not None:
                checkpoint.keep(self.frozen())
            yield record

    @torch.enable_grad()
    def advance(self) -> Record:
        """One step, and what it was at."""
        training, penalty = self.problem.training, self.problem.penalty
        number = self._next_batch()
        draw = Draw(self.logits, self._draw(self.feed.size(number)))
        share, slope = self.feed.fitting(lambda: self._measured(number, draw.mask.detach()))
        ranks = current()
        price = penalty.value(draw, self.step, self.multipliers) / ranks.count
        mine = torch.autograd.grad((draw.mask, price), self.parameters, (slope, None))
        gradients, loss = [ranks.sum(gradient) for gradient in mine], ranks.sum(share)
        _finite("loss", loss)
        _finite("gradient", *gradients)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(self.parameters, training.clip)
        record = self._record(draw, loss, norm)
        self._move()
        self.step += 1
        return record

    def _measured(self, number: int, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch under its mask, as far as its pairs are here, and the slope in the mask."""
        loss, slope = mask.new_zeros(()), torch.zeros_like(mask)
        for part in self.feed.parts(number):
            leaf = mask.clone().requires_grad_()
            of_part = part.loss(part.run(part.own(leaf), self.workspace))
            slope += torch.autograd.grad(of_part, leaf)[0]
            loss += of_part.detach()
        return loss, slope

    def _draw(self, examples: int) -> Tensor:
        """A mask, or one for each example; when gates settle, only the best-ranked edges are in it."""
        training, layout = self.problem.training, self.problem.layout
        mask = layout.mask(training.gates.draw(self.logits, self.generator, examples))
        room = training.room(self.step, self.problem.wanted)
        if room is None:
            return mask
        ranking = layout.ranking(self.logits.detach())
        best = ranking.flatten().topk(min(room, ranking.numel())).indices
        return mask * torch.zeros(ranking.numel()).index_fill(0, best, 1.0).view_as(ranking).to(mask)

    def _next_batch(self) -> int:
        place = self.step % len(self.feed)
        if place == 0:
            self.order = torch.randperm(len(self.feed), generator=self.generator)
        return int(self.order[place])

    def _move(self) -> None:
        """One step of the optimizer, taken back if it leads nowhere."""
        before = [parameter.detach().clone() for parameter in self.parameters]
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * self.problem.training.share(self.step)
        self.optimizer.step()
        largest = max(float(parameter.detach().abs().max()) for parameter in self.parameters)
        if not largest <= LARGEST_LOGIT:
            for parameter, old in zip(self.parameters, before, strict=True):
                parameter.data.copy_(old)
            rate = self.problem.training.rate
            raise NumericalError(
                f"gates or multipliers grow to {largest:.3g} at a learning rate of {rate:g}; lower the rate"
            )

    def _record(self, draw: Draw, loss: Tensor, norm: Tensor) -> Record:
        target = self.problem.penalty.target(self.step)
        mask = draw.mask.detach()
        draws = math.prod(mask.shape[:-2])
        linear, quadratic = [float(m.detach()) for m in self.multipliers] or (math.nan, math.nan)
        return Record(
            step=self.step + 1,
            loss=float(loss.detach()),
            sparsity=1 - float(mask.sum()) / draws / self.problem.layout.graph.n_edges,
            target=math.nan if target is None else target,
            linear=linear,
            quadratic=quadratic,
            edges=round(int((mask != 0).sum()) / draws),
            norm=float(norm),
        )

    # -- what is kept of it -----------------------------------------------------------------------------------------

    def frozen(self) -> Callable[[], Tensors]:
        """All that the next step depends on, and the records up to it, as they are now."""
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in self.tensors().items()}
        history, steps = self.history, len(self.history.records)
        return lambda: {**tensors, "records": history.to_tensor(steps)}

    def tensors(self) -> Tensors:
        """All that the next step depends on."""
        adam = {
            f"adam.{number}.{name}": value
            for number, parameter in enumerate(self.parameters)
            for name, value in self.optimizer.state[parameter].items()
        }
        return {
            **{f"parameter.{number}": parameter for number, parameter in enumerate(self.parameters)},
            **adam,
            "random": self.generator.get_state(),
            "order": self.order,
            "step": torch.tensor(self.step),
        }

    def restore(self, saved: Tensors) -> None:
        """Go on from what `frozen` gave in an interrupted run."""
        for number, parameter in enumerate(self.parameters):
            parameter.data.copy_(saved[f"parameter.{number}"])
            state = self.optimizer.state[parameter]
            for name in ("step", "exp_avg", "exp_avg_sq"):
                value = saved[f"adam.{number}.{name}"]
                state[name] = value if name == "step" else value.to(parameter.device)
        self.generator.set_state(saved["random"])
        self.order, self.step = saved["order"], int(saved["step"])
        self.history = History(from_tensor(saved["records"]))


def _finite(what: str, *values: Tensor) -> None:
    for value in values:
        if not bool(value.isfinite().all()):
            raise NumericalError(f"the {what} is NaN or infinite")
