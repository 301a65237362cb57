"""A native run all of which autograd keeps: the fastest, as long as memory has room for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.engine.live_run import GradientSink, LiveRun, LiveSetting, Objective
from edgewise.engine.sites import NOBODY, Sites, Way
from edgewise.engine.tiling import tiling_for
from edgewise.models.hooks import OnInput, hooked, on_gradient


def whole(setting: LiveSetting, objective: Objective) -> LiveRun:
    """The run, kept as a whole."""
    subject, way, start = setting.subject, Way(), list[Tensor]()
    sites = Sites(subject, way, tiling_for(subject.device).projected)

    def leaf(x: Tensor) -> Tensor:
        start.append(x.detach().requires_grad_())
        return start[0]

    def at_final(x: Tensor) -> None:
        on_gradient(x, lambda gradient: way.taker.final(gradient))

    own = [OnInput(subject.blocks[0].module, leaf), *sites.hooks(), OnInput(subject.final_norm.module, at_final)]
    with hooked(setting.around(own, setting.hooks.watching)), setting.changes.mode:
        logits = setting.logits()
    return _WholeRun(logits.detach(), objective(logits), start, sites)


@final
@dataclass(frozen=True)
class _WholeRun(LiveRun):
    _logits: Tensor
    _value: Tensor
    _start: list[Tensor]
    _sites: Sites

    @property
    def logits(self) -> Tensor:
        return self._logits

    def gradients(self, taker: GradientSink) -> None:
        self._back(taker, retain_graph=True)

    def last_gradients(self, taker: GradientSink) -> None:
        self._sites.way.last = True
        self._back(taker, retain_graph=False)

    def _back(self, taker: GradientSink, *, retain_graph: bool) -> None:
        self._sites.way.taker = taker
        torch.autograd.grad(self._value, self._start, retain_graph=retain_graph, materialize_grads=True)
        for head in self._sites.heads:
            head.finish()
        self._sites.way.taker = NOBODY
