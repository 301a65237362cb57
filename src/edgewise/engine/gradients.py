"""Gradients: one native forward and backward run, whose gradients are handed over as the backward pass reaches them.

They are those at the *outputs* of the q, k and v projections, of the MLP's norm, and at the final norm's input; what takes
them turns them into gradients at each reader's own input. Each layer's are handed over once, the last layer first, and
nothing of the layer is held here after that: while the backward pass frees what autograd has kept, only what the taker
makes of it grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from edgewise.engine.rules import PLAIN, BackwardRule
from edgewise.models.block import Block
from edgewise.models.hooks import Hook, OnInput, OnOutput, hooked, on_gradient, steady
from edgewise.models.projections import Projections
from edgewise.models.subject import Subject


class GradientSink:
    """What is given the gradients of a run, [example, position, ..]; what it does not want it need not define.

    None of the tensors may be changed in place. A layer whose readers have no gradient, since an edit of the run has put
    another value behind them, is left out.
    """

    def heads(self, layer: int, stream: Tensor, projected: Tensor, gradient: Tensor) -> None:
        """For a layer's stream at its attention's norm: what its projections gave, [.., reader, d_head], and the gradient."""

    def mlp(self, layer: int, stream: Tensor, gradient: Tensor) -> None:
        """For a layer's stream at its MLP's norm: the gradient at the norm's output."""

    def mlp_out(self, layer: int, gradient: Tensor) -> None:
        """The gradient at what a layer's MLP writes."""

    def final(self, gradient: Tensor) -> None:
        """The gradient at the final norm's input."""


@final
@dataclass(frozen=True)
class LiveRun:
    """A native run whose backward pass is still to come: `logits` [example, vocab], without gradient."""

    logits: Tensor
    _value: Tensor
    _sites: _Sites

    def gradients(self, taker: GradientSink) -> None:
        """One backward pass, after which there can be another."""
        self._back(taker, retain_graph=True)

    def last_gradients(self, taker: GradientSink) -> None:
        """The last backward pass, which frees what the run has kept as it goes."""
        self._sites.way.last = True
        self._back(taker, retain_graph=False)

    def _back(self, taker: GradientSink, *, retain_graph: bool) -> None:
        self._sites.way.taker = taker
        torch.autograd.grad(self._value, self._sites.start, retain_graph=retain_graph, materialize_grads=True)
        for head in self._sites.heads:
            head.finish()
        self._sites.way.taker = NOBODY


@final
@dataclass(frozen=True)
class RunHooks:
    """Hooks of the caller's in a live run.

    `edits` change the run, and no gradient passes a value they put in place. `watching` see the run as edited.
    """

    edits: Sequence[Hook] = ()
    watching: Sequence[Hook] = ()


@contextmanager
def live_run(
    subject: Subject,
    tokens: Tensor,
    positions: Tensor,
    objective: Callable[[Tensor], Tensor],
    *,
    rule: BackwardRule = PLAIN,
    hooks: RunHooks = RunHooks(),
) -> Iterator[LiveRun]:
    """A native forward run of `tokens` [example, position]; inside, gradients of `objective(logits)`, a scalar, can be taken.

    `rule` changes how gradients pass the model's parts, and nothing else. `hooks`: what else is in place during the run.
    """
    sites = _Sites(subject)
    with rule.on(subject) as changes, steady(subject.model), torch.enable_grad():
        with hooked([*hooks.edits, *changes.early, *hooks.watching, *sites.hooks(), *changes.late]), changes.mode:
            logits = subject.logits(tokens, positions)
        yield LiveRun(logits.detach(), objective(logits), sites)


# -- what is seen in the forward pass, and handed over in the backward pass -------------------------------------------


NOBODY = GradientSink()


@final
@dataclass
class _Way:
    """Whom gradients go to now, and whether this is the last time, so that what was handed over can be let go.

    Hooks of the graph hold this. It must not hold the graph, or neither would ever be freed.
    """

    taker: GradientSink = NOBODY
    last: bool = False


@final
@dataclass
class _Sites:
    """The places of one run."""

    subject: Subject
    way: _Way = field(default_factory=_Way)
    start: list[Tensor] = field(default_factory=list)
    heads: list[_Heads] = field(default_factory=list)

    def hooks(self) -> list[Hook]:
        """To be in place during the forward run."""
        hooks: list[Hook] = [OnInput(self.subject.blocks[0].module, self._leaf)]
        for layer, block in enumerate(self.subject.blocks):
            self.heads.append(_Heads(self.way, layer, block.projections))
            hooks += self.heads[-1].hooks(block.attention_norm.module)
            mlp = _MLP(self.way, layer, block)
            hooks += block.mlp_stream(mlp.keep) + block.mlp_normed(mlp.watch_norm) + block.mlp_written(mlp.watch_out)
        return [*hooks, OnInput(self.subject.final_norm.module, self._watch_final)]

    def _leaf(self, x: Tensor) -> Tensor:
        self.start.append(x.detach().requires_grad_())
        return self.start[0]

    def _watch_final(self, x: Tensor) -> None:
        way = self.way
        on_gradient(x, lambda gradient: way.taker.final(gradient))


@final
@dataclass
class _Heads:
    """One layer's attention: its stream, what its projections give, and the gradients there that have come in so far."""

    way: _Way
    layer: int
    projections: Projections
    stream: Tensor | None = None
    outputs: list[Tensor] = field(default_factory=list)
    arrived: dict[int, Tensor] = field(default_factory=dict)

    def hooks(self, norm: torch.nn.Module) -> list[Hook]:
        return [OnInput(norm, self._keep), *(OnOutput(module, self._watch) for module in self.projections.modules)]

    def _keep(self, x: Tensor) -> None:
        self.stream = x.detach()

    def _watch(self, output: Tensor) -> None:
        number = len(self.outputs)
        self.outputs.append(output.detach())
        on_gradient(output, lambda gradient: self._arrive(number, gradient))

    def _arrive(self, number: int, gradient: Tensor) -> None:
        self.arrived[number] = gradient
        if len(self.arrived) == len(self.outputs):
            self.finish()

    def finish(self) -> None:
        """Hand over what has come in; a projection without gradient has one of zero."""
        if not self.arrived:
            return
        assert self.stream is not None
        parts = [self.arrived.pop(i, None) for i in range(len(self.outputs))]
        parts = [torch.zeros_like(out) if part is None else part for part, out in zip(parts, self.outputs, strict=True)]
        split = self.projections.split
        self.way.taker.heads(self.layer, self.stream, split(self.outputs), split(parts))
        if self.way.last:
            self.stream, self.outputs = None, []


@final
@dataclass
class _MLP:
    """One layer's MLP and its stream."""

    way: _Way
    layer: int
    block: Block
    stream: Tensor | None = None

    def keep(self, x: Tensor) -> None:
        self.stream = x.detach()

    def watch_norm(self, x: Tensor) -> Tensor:
        """Watches a view that the MLP alone gets: attention may read the same norm, and without a norm it is the stream."""
        view = x.view_as(x)
        on_gradient(view, self._arrive)
        return view

    def watch_out(self, x: Tensor) -> None:
        on_gradient(x, lambda gradient: self.way.taker.mlp_out(self.layer, self.block.divided(gradient)))

    def _arrive(self, gradient: Tensor) -> None:
        assert self.stream is not None
        self.way.taker.mlp(self.layer, self.stream, gradient)
        if self.way.last:
            self.stream = None
