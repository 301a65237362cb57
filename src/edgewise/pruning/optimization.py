"""Optimization: THE loop of training. The model runs under the mask of the gates, and a gradient moves their logits.

    loss = metric(masked run, clean run) + penalty(gates),   the metric lower-is-better: KL(clean ‖ masked) by default

One mask serves all pairs of a step, or each has its own, as the gates are. Edges that are closed for all and whose gates have
no gradient are not computed at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import NumericalError
from edgewise.pruning.batch_cache import BatchCache
from edgewise.pruning.gate_layout import GateLayout
from edgewise.pruning.history import History, Record, from_tensor
from edgewise.pruning.objective import Draw, Penalty
from edgewise.pruning.saved_state import STATE, is_consistent, wanted_tensors
from edgewise.pruning.training import Training
from edgewise.ranks import current
from edgewise.store.checkpoint import Checkpoint, Tensors, damaged

# A gate is open or closed for good long before its logit is this large.
LARGEST_LOGIT = 1e4


@final
@dataclass(frozen=True)
class Problem:
    """What to train: which gates, what closes them, how; `seed` of every draw and of the order of batches.

    `ahead` [gate]: how much higher than others logits start, times the training's `lead`. `begin` [gate]: the logits to begin
    with instead, those of an earlier training.
    """

    layout: GateLayout
    penalty: Penalty
    training: Training
    seed: int
    ahead: Tensor | None = None
    begin: Tensor | None = None


@final
class Optimization:
    """One optimisation under way; between two steps it can be saved and restored.

    `shortlist`: the logits whose circuits are compared, from the start and after some of the last steps; none if none are.
    """

    def __init__(self, problem: Problem, feed: BatchCache) -> None:
        self.problem, self.feed = problem, feed
        self.generator = torch.Generator().manual_seed(problem.seed)
        training, device = problem.training, feed.request.subject.device
        start = training.begin(torch.randn(problem.layout.gates, generator=self.generator), problem.ahead)
        self.logits = nn.Parameter(start.to(device) if problem.begin is None else problem.begin.to(device).clone())
        self.multipliers = [nn.Parameter(torch.tensor(m, device=device)) for m in problem.penalty.multipliers]
        self.parameters = [self.logits, *self.multipliers]
        groups: list[dict[str, Any]] = [
            {"params": [self.logits], "rate": training.rate, "lr": training.rate},
            {"params": self.multipliers, "rate": training.multiplier_rate, "lr": 0.0, "maximize": True},
        ]
        self.optimizer = training.update.optimizer([group for group in groups if group["params"]])
        self.order = torch.empty(0, dtype=torch.long)
        self.shortlist = [self.logits.detach().clone()] if training.compared else []
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
                kept = f"; {checkpoint.path} holds the last good step" if checkpoint.path else ""
                raise NumericalError(f"training stopped at step {self.step + 1}: {error}{kept}") from None
            self.history.add(record)
            if checkpoint.path is not None:
                checkpoint.keep(self.frozen())
            yield record

    @torch.enable_grad()
    def advance(self) -> Record:
        """One step, and what it was at."""
        problem, ranks = self.problem, current()
        number = self._next_batch()
        mask = problem.training.gates.mask(
            problem.layout, self.logits, problem.penalty.room(self.step), self.generator, self.feed.size(number)
        )
        draw = Draw(self.logits, mask)
        share, slope = self.feed.fitting(lambda: self._measured(number, mask.detach()))
        price = problem.penalty.value(draw, self.step, self.multipliers) / ranks.count
        mine = torch.autograd.grad((mask, price), self.parameters, (slope, None))
        gradients, loss = [ranks.sum(gradient) for gradient in mine], ranks.sum(share)
        _finite("loss", loss)
        _finite("gradient", *gradients)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = problem.training.update.prepare(self.parameters)
        record = self._record(draw, loss, norm)
        self._move()
        if self.step in problem.training.compared_steps:
            self.shortlist.append(self.logits.detach().clone())
        self.step += 1
        return record

    def _measured(self, number: int, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch under its mask, as far as its pairs are here, and the slope in the mask."""
        loss, slope, layout = mask.new_zeros(()), torch.zeros_like(mask), self.problem.layout
        learning = self.problem.training.gates.learning(layout, mask)
        for part in self.feed.parts(number):
            leaf = mask.clone().requires_grad_()
            of_part = part.loss(layout.run(part, part.own(leaf), self.workspace, learning))
            slope += torch.autograd.grad(of_part, leaf)[0]
            loss += of_part.detach()
        return loss, slope

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
        mask = self.problem.layout.opened(draw.mask.detach())
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
        moved = {
            f"moved.{number}.{name}": value
            for number, parameter in enumerate(self.parameters)
            for name, value in self.optimizer.state[parameter].items()
        }
        return {
            **{f"parameter.{number}": parameter for number, parameter in enumerate(self.parameters)},
            **moved,
            "random": self.generator.get_state(),
            "order": self.order,
            "shortlist": torch.stack(self.shortlist) if self.shortlist else torch.empty(0),
            "step": torch.tensor(self.step),
        }

    def restore(self, saved: Tensors, checkpoint: Checkpoint) -> None:
        """Go on from what `frozen` gave in an interrupted run; FileError, with its file, for what it cannot have given."""
        checkpoint.require(saved, wanted_tensors(saved, self.parameters, self.generator.get_state()))
        if not is_consistent(saved, self.problem.training.steps, len(self.feed)):
            raise damaged(checkpoint.path, "its numbers do not fit together")
        for number, parameter in enumerate(self.parameters):
            parameter.data.copy_(saved[f"parameter.{number}"])
            state = self.optimizer.state[parameter]
            for key in saved.keys() & {f"moved.{number}.{name}" for name in STATE}:
                name = key.rpartition(".")[2]
                state[name] = saved[key] if name == "step" else saved[key].to(parameter.device)
        self.generator.set_state(saved["random"])
        self.shortlist = list(saved["shortlist"].to(self.logits.device))
        self.order, self.step = saved["order"], int(saved["step"])
        self.history = History(from_tensor(saved["records"]))


def _finite(what: str, *values: Tensor) -> None:
    for value in values:
        if not bool(value.isfinite().all()):
            raise NumericalError(f"the {what} is NaN or infinite")
