"""Sites: the places of a run at which gradients are watched, and handed over as the backward pass reaches them.

They are the *outputs* of the q, k and v projections, what the MLP reads and what it writes; what takes the gradients turns
those at projections into those at each reader's own input. Each layer's are handed over once, and nothing of the layer is
held here after the last time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import final

import torch
from torch import Tensor

from edgewise.engine.live_run import GradientSink
from edgewise.engine.tiling import KeptOrAgain
from edgewise.models.block import Block
from edgewise.models.hooks import Hook, OnInput, OnOutput, on_gradient
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
    way: Way
    projected: KeptOrAgain
    heads: list[_Heads] = field(default_factory=list)

    def hooks(self) -> list[Hook]:
        """To be in place while the blocks run forward."""
        hooks: list[Hook] = []
        for layer, block in enumerate(self.subject.blocks):
            self.heads.append(_Heads(self.way, layer, block, self.projected))
            hooks += self.heads[-1].hooks()
            hooks += _MLP(self.way, layer, block).hooks()
        return hooks


@final
@dataclass
class _Heads:
    """One layer's attention: its stream, what its projections give, and the gradients there that have come in so far.

    What they give is kept, or made again from the stream when it is handed over.
    """

    way: Way
    layer: int
    block: Block
    projected: KeptOrAgain
    stream: Tensor | None = None
    outputs: list[Tensor] = field(default_factory=list)
    arrived: dict[int, Tensor] = field(default_factory=dict)

    def hooks(self) -> list[Hook]:
        modules = self.block.projections.modules
        watching = [OnOutput(module, partial(self._watch, number)) for number, module in enumerate(modules)]
        return [OnInput(self.block.attention_norm.module, self._keep), *watching]

    def _keep(self, x: Tensor) -> None:
        self.stream = x.detach()

    def _watch(self, number: int, output: Tensor) -> None:
        if self.projected == "kept":
            self.outputs.append(output.detach())
        on_gradient(output, lambda gradient: self._arrive(number, gradient))

    def _arrive(self, number: int, gradient: Tensor) -> None:
        self.arrived[number] = gradient
        if len(self.arrived) == len(self.block.projections.modules):
            self.finish()

    def finish(self) -> None:
        """Hand over what has come in; a projection without gradient has one of zero."""
        if not self.arrived:
            return
        assert self.stream is not None
        outputs = self.outputs or self._made_again(self.stream)
        parts = [self.arrived.pop(i, None) for i in range(len(outputs))]
        parts = [torch.zeros_like(out) if part is None else part for part, out in zip(parts, outputs, strict=True)]
        split = self.block.projections.split
        self.way.taker.heads(self.layer, self.stream, split(outputs), split(parts))
        if self.way.last:
            self.stream, self.outputs = None, []

    @torch.no_grad()
    def _made_again(self, stream: Tensor) -> list[Tensor]:
        normed = self.block.attention_norm(stream)
        return [module(normed) for module in self.block.projections.modules]


@final
@dataclass
class _MLP:
    """One layer's MLP. Its gradients are watched at views that it alone gets: others may read the same stream or norm."""

    way: Way
    layer: int
    block: Block
    stream: Tensor | None = None

    def hooks(self) -> list[Hook]:
        if self.block.mlp_norm is None:
            return []
        written = self.block.mlp_written(self._watch_out)
        if self.block.mlp_norm.module is not self.block.attention_norm.module:
            return self.block.mlp_stream(self._watch_in) + written
        return self.block.mlp_stream(self._keep) + self.block.mlp_normed(self._watch_normed) + written

    def _watch_in(self, x: Tensor) -> Tensor:
        view = x.view_as(x)
        on_gradient(view, lambda gradient: self.way.taker.mlp_in(self.layer, gradient))
        return view

    def _keep(self, x: Tensor) -> None:
        self.stream = x.detach()

    def _watch_normed(self, x: Tensor) -> Tensor:
        view = x.view_as(x)
        on_gradient(view, self._arrive)
        return view

    def _watch_out(self, x: Tensor) -> None:
        on_gradient(x, lambda gradient: self.way.taker.mlp_out(self.layer, self.block.divided(gradient)))

    def _arrive(self, gradient: Tensor) -> None:
        assert self.stream is not None
        self.way.taker.mlp_normed(self.layer, self.stream, gradient)
        if self.way.last:
            self.stream = None
