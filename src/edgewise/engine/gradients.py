"""Gradients: one native forward and backward run, whose gradients are handed over as the backward pass reaches them.

They are those at the *outputs* of the q, k and v projections, at what the MLP reads, and at the final norm's input; what
takes those at projections turns them into gradients at each reader's own input. Each layer's are handed over once, the last
layer first, and nothing of the layer is held here after that: while the backward pass frees what autograd has kept, only what
the taker makes of it grows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from edgewise.engine.by_block import by_block
from edgewise.engine.kept import fits
from edgewise.engine.live_run import NO_HOOKS, GradientSink, LiveRun, LiveSetting, Objective, RunHooks
from edgewise.engine.rules import PLAIN, BackwardRule
from edgewise.engine.whole_run import whole
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject

__all__ = ["GradientSink", "LiveRun", "RunHooks", "live_run"]


@contextmanager
def live_run(
    subject: Subject,
    tokens: Tensor,
    positions: Tensor,
    objective: Objective,
    *,
    rule: BackwardRule = PLAIN,
    hooks: RunHooks = NO_HOOKS,
) -> Iterator[LiveRun]:
    """A native forward run of `tokens` [example, position]; inside, gradients of `objective(logits)`, a scalar, can be taken.

    `rule` changes how gradients pass the model's parts, and nothing else. `hooks`: what else is in place during the run.
    Where memory has no room for all that autograd would keep, blocks are run again in the backward pass.
    """
    kept = whole if fits(subject, *tokens.shape) else by_block
    with rule.on(subject) as changes, steady(subject.model), torch.enable_grad():
        yield kept(LiveSetting(subject, tokens, positions, changes, hooks), objective)
