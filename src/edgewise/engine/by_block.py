"""A native run of which only the input of each block is kept: the backward pass runs one block after the other again.

It costs one forward more for each backward pass, and holds what autograd keeps of a single block at a time. The values are
those of the whole run, gradients too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from edgewise.engine.live_run import GradientSink, LiveRun, LiveSetting, Objective
from edgewise.engine.sites import Sites, Way
from edgewise.models.hooks import OnArguments, OnInput, hooked

# What a block was called with.
Call = tuple[tuple[Any, ...], dict[str, Any]]


def by_block(setting: LiveSetting, objective: Objective) -> LiveRun:
    """The run, kept as the inputs of its blocks."""
    subject, calls, final_in = setting.subject, list[Call](), list[Tensor]()

    def leave_the_blocks(x: Tensor) -> Tensor:
        torch.set_grad_enabled(True)  # what is behind the blocks is kept; `no_grad` below sets this back
        final_in.append(x.detach().requires_grad_())
        return final_in[0]

    own = [OnArguments(block.module, lambda *call: calls.append(call)) for block in subject.blocks]
    leaving = OnInput(subject.final_norm.module, leave_the_blocks)
    with torch.no_grad(), hooked(setting.around([*own, leaving], setting.hooks.watching)), setting.changes.mode:
        logits = setting.logits()
    return _RunByBlock(setting, logits.detach(), objective(logits), final_in[0], calls)


@final
@dataclass(frozen=True)
class _RunByBlock(LiveRun):
    """`_final_in`: the stream behind the last block, from which the value was computed. `_calls`: of each block."""

    _setting: LiveSetting
    _logits: Tensor
    _value: Tensor
    _final_in: Tensor
    _calls: list[Call]

    @property
    def logits(self) -> Tensor:
        return self._logits

    def gradients(self, taker: GradientSink) -> None:
        self._back(taker, self._calls.copy(), retain_graph=True)

    def last_gradients(self, taker: GradientSink) -> None:
        self._back(taker, self._calls, retain_graph=False)

    def _back(self, taker: GradientSink, calls: list[Call], *, retain_graph: bool) -> None:
        """Uses up `calls`, so that what is gone back through can be let go."""
        gradient = torch.autograd.grad(self._value, self._final_in, retain_graph=retain_graph, materialize_grads=True)[
            0
        ]
        taker.final(gradient)
        sites, leaves = Sites(self._setting.subject, Way(taker, last=True), "kept"), list[Tensor]()

        def leaf(x: Tensor) -> Tensor:
            leaves.append(x.detach().requires_grad_())
            return leaves[0]

        own = [*(OnInput(block.module, leaf) for block in self._setting.subject.blocks), *sites.hooks()]
        with hooked(self._setting.around(own)):
            while calls:
                out = self._again(len(calls) - 1, calls.pop())
                gradient = torch.autograd.grad(out, leaves.pop(), gradient, materialize_grads=True)[0]
                sites.heads[len(calls)].finish()
        for seen in self._setting.changes.seen:
            seen.complete = True

    def _again(self, layer: int, call: Call) -> Tensor:
        """What leaves a block, run once more, with all that autograd keeps of it."""
        with self._setting.changes.mode:
            out = self._setting.subject.blocks[layer].module(*call[0], **call[1])
        return out[0] if isinstance(out, tuple) else out
