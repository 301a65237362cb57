"""The slow, obvious twin of path attribution: every reader gets a residual of its own, and autograd does the rest.

Each reader's input is x + ε_r with ε_r = 0: the derivative in ε_r is the gradient at that reader's own input. The model's
own norm modules are called for every reader, so rules that change a norm's backward are seen too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from edgewise.ablations import ablation
from edgewise.engine.record import Recording, record
from edgewise.engine.writes import expand
from edgewise.metrics import Answers, Metric, metric
from edgewise.models import Subject
from edgewise.models.hooks import Hook, OnInput, hooked, steady
from edgewise.pairs import Pairs
from edgewise.request import Batch


def batch_of(on: Subject, of: Pairs, how: str = "corrupted", by: str | Metric = "logit_diff") -> Batch:
    ready = of.trimmed() if on.causal else of
    return Batch(on, ready, ablation(how).prepare(on, of, 8), metric(by))


def clean_of(batch: Batch) -> Recording:
    return record(batch.subject, batch.pairs.clean, batch.pairs.positions)


def deltas(batch: Batch) -> Tensor:
    """[writer, token, d_model]: clean minus replaced."""
    flat = clean_of(batch).writes.minus(batch.replacement.writes, batch.subject.work_dtype).flat()
    graph, tokens = batch.subject.graph, len(flat.inputs)
    out = flat.inputs.new_empty(len(graph.writers), tokens, batch.subject.d_model)
    return expand(batch.subject, flat, slice(0, tokens), out)


def scores_along(batch: Batch, points: Iterable[tuple[float, Sequence[Hook]]]) -> Tensor:
    """Mean scores [writer, reader] of a path of (weight, edits of the clean run)."""
    clean_logits, difference = clean_of(batch).logits, deltas(batch)
    total = torch.zeros(batch.subject.graph.edge_mask.shape, dtype=difference.dtype)
    for weight, edits in points:
        total += weight * torch.einsum("wtd,rtd->wr", difference, reader_gradients(batch, clean_logits, edits))
    return total * batch.subject.graph.edge_mask / len(batch.pairs)


def reader_gradients(batch: Batch, clean_logits: Tensor, edits: Sequence[Hook]) -> Tensor:
    """[reader, token, d_model] in the run of the clean prompts as `edits` change it."""
    subject, pairs = batch.subject, batch.pairs
    shape = (*pairs.clean.shape, subject.d_model)
    with steady(subject.model), torch.enable_grad(), hooked(edits), _split(subject, shape) as zeros:
        logits = subject.logits(pairs.clean, pairs.positions)
        value = batch.metric.objective(logits, Answers(pairs.correct, pairs.wrong), clean_logits).sum()
        gradients = torch.autograd.grad(value, zeros, materialize_grads=True)
    return torch.cat([g.flatten(0, -4) if g.ndim > 3 else g[None] for g in gradients]).flatten(1, 2)


@contextmanager
def _split(subject: Subject, shape: tuple[int, ...]) -> Any:
    """Yields the zeros added to the readers' inputs: per layer [reader, ..] for q, k, v and [..] for the MLP; logits last."""
    zeros: list[Tensor] = []
    like = torch.zeros((), dtype=subject.dtype)
    with ExitStack() as stack:

        def leaf(*before: int) -> Tensor:
            zeros.append(like.new_zeros(*before, *shape).requires_grad_())
            return zeros[-1]

        for block in subject.blocks:
            _split_heads(block, leaf(block.projections.readers), stack)
            if block.mlp_norm is not None:
                stack.callback(_added(block.mlp_norm.module, leaf()).remove)
        stack.callback(_added(subject.final_norm.module, leaf()).remove)
        yield zeros


def _added(module: Any, zero: Tensor) -> Any:
    """Adds to what the module is given in the run, which may be in one row. Called for other readers it has more to norm."""

    def hook(_: Any, args: Any) -> Any:
        return (args[0] + zero.view_as(args[0]), *args[1:]) if args[0].numel() == zero.numel() else None

    return module.register_forward_pre_hook(hook)


def _split_heads(block: Any, zero: Tensor, stack: ExitStack) -> None:
    seen: list[Tensor] = []
    weight, bias = block.projections.rows(list(range(block.projections.readers)))

    def keep(x: Tensor) -> None:
        if x.ndim == 3:
            seen.append(x)

    def own(number: int) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> Tensor:
            normed = block.attention_norm(seen[-1] + zero)
            outputs = torch.einsum("rbtd,red->btre", normed, weight)
            outputs = outputs if bias is None else outputs + bias
            return block.projections.join(outputs, block.projections.kv_heads)[number]

        return hook

    stack.enter_context(hooked([OnInput(block.attention_norm.module, keep)]))
    for number, module in enumerate(block.projections.modules):
        stack.callback(module.register_forward_hook(own(number)).remove)
