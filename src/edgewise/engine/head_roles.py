"""Whether the heads of a layer are what the family's projections say: tried on the attention of the first layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgewise.engine.native import native_attention
from edgewise.engine.role_refusals import STRAYING, relative_distance, wrong_field
from edgewise.models.subject import Subject


def check_heads(subject: Subject, stream: Tensor) -> None:
    """What is taken for a head's query, key and value is that: tried on the first layer, for the stream of one prompt.

    Queries changed at the first position change what heads give there alone. Values that are all changed alike change what
    their own heads give by as much, at the first position too, where in a causal model no key matters.
    """
    block, graph = subject.blocks[0], subject.graph
    normed = block.attention_norm(stream.to(block.device))
    outputs = block.projections.split([module(normed) for module in block.projections.modules])
    values = range(graph.heads + graph.kv_heads, graph.heads + 2 * graph.kv_heads)
    projected = outputs.repeat(2 + graph.kv_heads, 1, 1, 1)
    loud = 3 * outputs.abs().max()
    projected[1, 0, : graph.heads] += loud * torch.linspace(-1, 1, outputs.shape[-1]).to(outputs)
    for row, slot in enumerate(values, start=2):
        projected[row, :, slot] += loud
    context = subject.context(stream.shape[1])[0]
    z = native_attention(subject, block, context, projected, range(graph.kv_heads)).unflatten(-1, (graph.heads, -1))
    change = (z - z[:1]).abs().amax(dim=-1) / z[:1].abs().max().clamp(min=1e-12)
    moved = change > STRAYING[subject.dtype]
    if bool(moved[1, 1:].any()):
        raise wrong_field(
            subject, "projections", "takes something else for the queries: another layout, or names in another order?"
        )
    own_heads = graph.heads // graph.kv_heads
    own = torch.arange(graph.heads, device=z.device) // own_heads
    if not torch.equal(moved[2:, 0], own == torch.arange(graph.kv_heads, device=z.device)[:, None]):
        raise wrong_field(
            subject, "projections", "takes something else for the values: another layout, or names in another order?"
        )
    if block.projections.together == 1:
        _check_fewer(subject, context, projected[:1], z[:1])


def _check_fewer(subject: Subject, context: dict[str, Any], projected: Tensor, z: Tensor) -> None:
    """The heads that share the first key and value give by themselves what they give among others."""
    block, graph = subject.blocks[0], subject.graph
    own = range(graph.heads // graph.kv_heads)
    slots = [*own, graph.heads, graph.heads + graph.kv_heads]
    kind = type(block.attention).__name__
    try:
        few = native_attention(subject, block, context, projected[:, :, slots], [0]).unflatten(-1, (len(own), -1))
        if relative_distance(few, z[:, :, : len(own)]) < STRAYING[subject.dtype]:
            return
        problem = "they give something else"
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        problem = str(error).splitlines()[0]
    raise wrong_field(
        subject,
        "counts",
        f"does not let {kind} run {len(own)} of its {graph.heads} heads ({problem}); name in `counts` the numbers of {kind} "
        "that grow with its heads",
    )
