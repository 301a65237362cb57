"""node_run: a run in which whole nodes are kept, replaced, or anything between, at the price of a native run.

    written_w becomes replaced_w + gates[w] · (written_w − replaced_w),   for all readers of w alike

It is what `masked_forward` gives under the mask gates[w] at every edge of w, and has the same gradient in the gates: a node
that is replaced goes on reading what the others write, so it is known what it would write.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.replacement import Replacement
from edgewise.models.hooks import Hook, OnInput, hooked
from edgewise.models.subject import Subject


def node_run(subject: Subject, tokens: Tensor, positions: Tensor, gates: Tensor, replacement: Replacement) -> Tensor:
    """Logits [example, vocab] at the answer `positions` [example] of `tokens` [example, position], under `gates` [writer].

    The model's own modules run, with what heads and MLPs write changed on the way; what the inputs write never is. Where one
    norm spans the heads of a layer the masked run does it, which knows what a replaced head does to the others.
    """
    if subject.heads_share_norm:
        mask = gates[:, None] * subject.graph.edge_mask.to(gates)
        return masked_forward(subject, tokens, positions, Mask(mask[None]), replacement)[0]
    with hooked(_hooks(subject, gates, replacement)):
        return subject.logits(tokens, positions)


def _hooks(subject: Subject, gates: Tensor, replacement: Replacement) -> list[Hook]:
    graph, writes, hooks = subject.graph, replacement.writes, list[Hook]()
    for layer, block in enumerate(subject.blocks):
        heads = graph.head_writers(layer)
        by_head = gates[heads.start : heads.stop, None]
        hooks.append(OnInput(block.output, partial(_mixed_heads, by_head, writes.z[layer])))
        if graph.mlps:
            gate, replaced = gates[graph.mlp_writer(layer)], block.divided(writes.mlp[layer])
            hooks += block.mlp_written(partial(_mixed, gate, replaced))
    return hooks


def _mixed_heads(gates: Tensor, replaced: Tensor, z: Tensor) -> Tensor:
    return _mixed(gates, replaced, z.unflatten(-1, replaced.shape[-2:])).flatten(-2)


def _mixed(gates: Tensor, replaced: Tensor, live: Tensor) -> Tensor:
    replaced = replaced.to(live)
    return replaced + gates.to(live) * (live - replaced)
