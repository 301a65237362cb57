"""Sites: the places of a run at which gradients are watched, and handed over as the backward pass reaches them.

They are the *outputs* of the q, k and v projections, of the MLP's norm, and what the MLP writes; what takes the gradients
turns them into those at each reader's own input. Each layer's are handed over once, and nothing of the layer is held here
after the last time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from edgewise.engine.live_run import GradientSink
from edgewise.models.block import Block
from edgewise.models.hooks import Hook, OnInput, OnOutput, on_gradient
from edgewise.models.projections import Projections
from edgewise.models.subject import Subject

NOBODY = GradientSink()


@final
@dataclass
class Way:
    """Whom gradients go to now, and whether this is the last time, so that what was handed over can be let go.

    Hooks of the graph hold this. It must not hold the graph, or neither would ever be freed.
    """

    taker: GradientSink = NOBODY
    last: bool = False


@final
@dataclass
class Sites:
    """The places in the blocks, of one run or of one that is made again block by block."""

    subject: Subject
    way: Way = field(default_factory=Way)
    heads: list[_Heads] = field(default_factory=list)

    def hooks(self) -> list[Hook]:
        """To be in place while the blocks run forward."""
        hooks: list[Hook] = []
        for layer, block in enumerate(self.subject.blocks):
            self.heads.append(_Heads(self.way, layer, block.projections))
            hooks += self.heads[-1].hooks(block.attention_norm.module)
            mlp = _MLP(self.way, layer, block)
            hooks += block.mlp_stream(mlp.keep) + block.mlp_normed(mlp.watch_norm) + block.mlp_written(mlp.watch_out)
        return hooks


@final
@dataclass
class _Heads:
    """One layer's attention: its stream, what its projections give, and the gradients there that have come in so far."""

    way: Way
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

    way: Way
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
