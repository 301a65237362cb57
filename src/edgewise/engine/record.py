"""Recording: one ordinary run of the native model with hooks, forward and, for attribution, backward.

Writers are kept in their compact form: what the input writers write, `z` (the input of the attention output projection)
and the MLP's output. Gradients are taken at the *outputs* of the q, k and v projections, of the MLP's norm, and at the final
norm's input; the contraction turns them into gradients at each reader's own input. No head ever gets its own copy of the
residual in the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgewise.engine.rules import PLAIN, Rule
from edgewise.engine.writes import Writes
from edgewise.models.family import Block
from edgewise.models.hooks import Hook, OnInput, OnOutput, hooked, steady
from edgewise.models.subject import Subject


@dataclass(frozen=True)
class Recording:
    """What one native run leaves behind. All tensors are without gradient.

    `logits` [example, vocab] at the answer positions. `attention_in`, `mlp_in`: per layer the residual stream that the
    norms read, [example, position, d_model]; `final_in` that of the last norm.
    """

    writes: Writes
    logits: Tensor
    attention_in: list[Tensor]
    mlp_in: list[Tensor]
    final_in: Tensor


@dataclass(frozen=True)
class Gradients:
    """Gradients of a scalar at the sites, and what the projections gave there.

    `heads`, `projected`: per layer [example, position, reader, d_head], the readers of its attention in graph order;
    `mlp`: per layer [example, position, d_model] at the MLP norm's output; `mlp_out`: at what the MLP writes; `final`: at
    the final norm's input.
    """

    heads: list[Tensor]
    projected: list[Tensor]
    mlp: list[Tensor]
    mlp_out: list[Tensor]
    final: Tensor


@dataclass
class _Sites:
    """Where the hooks put what they see, layer by layer, in the order of the forward pass."""

    inputs: list[Tensor] = field(default_factory=list)
    attention_in: list[Tensor] = field(default_factory=list)
    mlp_in: list[Tensor] = field(default_factory=list)
    z: list[Tensor] = field(default_factory=list)
    attention_out: list[Tensor] = field(default_factory=list)
    mlp_out: list[Tensor] = field(default_factory=list)
    final_in: list[Tensor] = field(default_factory=list)
    projected: list[Tensor] = field(default_factory=list)
    mlp_normed: list[Tensor] = field(default_factory=list)


def record(subject: Subject, tokens: Tensor, positions: Tensor) -> Recording:
    """One native forward run of `tokens` [example, position], recorded, without gradient."""
    sites = _Sites()
    with steady(subject.model), torch.no_grad(), hooked(_hooks(subject, sites)):
        logits = subject.logits(tokens, positions)
    return _recording(subject, sites, logits)


def record_gradients(
    subject: Subject,
    tokens: Tensor,
    positions: Tensor,
    objective: Callable[[Tensor], Tensor],
    *,
    edits: Sequence[Hook] = (),
    rule: Rule = PLAIN,
) -> tuple[Recording, Gradients]:
    """One native forward and backward run: the recording, and the gradients of `objective(logits)`, a scalar.

    `edits` change the run: what they return is what is recorded, and no gradient passes a value they put in place.
    `rule` changes how gradients pass the model's parts, and nothing else.
    """
    sites = _Sites()
    start = OnInput(subject.blocks[0].module, lambda x: x.detach().requires_grad_())
    with rule.on(subject) as changes, steady(subject.model), torch.enable_grad():
        hooks = [
            *edits,
            *changes.early,
            start,
            *_hooks(subject, sites),
            *_gradient_hooks(subject, sites),
            *changes.late,
        ]
        with hooked(hooks), changes.mode:
            logits = subject.logits(tokens, positions)
        targets = [*sites.projected, *sites.mlp_normed, *sites.mlp_out, *sites.final_in]
        gradients = torch.autograd.grad(objective(logits), targets, materialize_grads=True)
    return _recording(subject, sites, logits.detach()), _gradients(subject, sites, gradients)


def _hooks(subject: Subject, sites: _Sites) -> list[Hook]:
    hooks: list[Hook] = [OnInput(subject.final_norm.module, _keep(sites.final_in))]
    hooks += subject.input_hooks(sites.inputs)
    for block in subject.blocks:
        hooks.append(OnInput(block.attention_norm.module, _keep(sites.attention_in)))
        hooks.append(OnInput(block.output, _keep(sites.z)))
        if block.attention_post is not None:
            hooks.append(OnInput(block.attention_post.module, _keep(sites.attention_out)))
        if block.mlp_norm is not None and block.mlp_site is not None:
            hooks.append(OnInput(block.mlp_norm.module, _keep(sites.mlp_in)))
            hooks.append(OnOutput(block.mlp_site, _keep(sites.mlp_out)))
    return hooks


def _gradient_hooks(subject: Subject, sites: _Sites) -> list[Hook]:
    hooks: list[Hook] = []
    for block in subject.blocks:
        hooks += [OnOutput(module, _keep(sites.projected)) for module in block.projections.modules]
        if block.mlp_norm is not None:
            hooks.append(OnOutput(block.mlp_norm.module, _keep_view(sites.mlp_normed)))
    return hooks


def _keep(store: list[Tensor]) -> Callable[[Tensor], None]:
    return lambda x: store.append(x)


def _keep_view(store: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """Keep a view: a model without norms hands its input on, whose gradient would be that of the whole stream."""

    def keep(x: Tensor) -> Tensor:
        store.append(x.view_as(x))
        return store[-1]

    return keep


def _recording(subject: Subject, sites: _Sites, logits: Tensor) -> Recording:
    attention_in = [x.detach() for x in sites.attention_in]
    return Recording(
        writes=_writes(subject, sites, subject.inputs(attention_in[0], sites.inputs)),
        logits=logits,
        attention_in=attention_in,
        mlp_in=[x.detach() for x in sites.mlp_in],
        final_in=sites.final_in[0].detach(),
    )


def _writes(subject: Subject, sites: _Sites, inputs: Tensor) -> Writes:
    raw = [z.detach().unflatten(-1, (subject.graph.heads, -1)) for z in sites.z]
    scaled = raw
    if sites.attention_out:
        scaled = [
            z * post_scale(block, out.detach())[..., None]
            for z, out, block in zip(raw, sites.attention_out, subject.blocks, strict=True)
        ]
    return Writes(inputs, scaled, [x.detach() for x in sites.mlp_out], raw)


def post_scale(block: Block, summed: Tensor) -> Tensor:
    """[.., 1]: the scale by which a norm after attention multiplies the summed heads [.., d_model]."""
    assert block.attention_post is not None
    return block.attention_post.normalise(summed.float() if summed.dtype.itemsize < 4 else summed)[1].to(summed.dtype)


def _gradients(subject: Subject, sites: _Sites, gradients: tuple[Tensor, ...]) -> Gradients:
    per_layer = len(subject.blocks[0].projections.modules)
    layers = subject.graph.layers
    heads, others = gradients[: layers * per_layer], gradients[layers * per_layer : -1]
    mlps = len(sites.mlp_out)
    outputs = [x.detach() for x in sites.projected]

    def by_layer(tensors: Sequence[Tensor]) -> list[Tensor]:
        parts = [list(tensors[i : i + per_layer]) for i in range(0, layers * per_layer, per_layer)]
        return [block.projections.split(part) for block, part in zip(subject.blocks, parts, strict=True)]

    return Gradients(
        heads=by_layer(heads),
        projected=by_layer(outputs),
        mlp=list(others[:mlps]),
        mlp_out=list(others[mlps:]),
        final=gradients[-1],
    )
