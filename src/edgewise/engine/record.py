"""Recording: one ordinary run of the native model with hooks that keep what its writers add and what its norms read.

Writers are kept in their compact form: what the input writers write, `z` (the input of the attention output projection)
and the MLP's output. No head ever gets its own copy of the residual. What gradients a run has is in `gradients.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from edgewise.engine.writes import Writes
from edgewise.models.block import Block
from edgewise.models.hooks import Hook, OnInput, hooked, steady
from edgewise.models.subject import Subject


@final
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


@final
@dataclass
class Recorder:
    """Hooks that keep what the writers of one run write, and what they have seen of it."""

    subject: Subject
    _stream: list[Tensor] = field(default_factory=list)
    _inputs: list[Tensor] = field(default_factory=list)
    _z: list[Tensor] = field(default_factory=list)
    _attention_out: list[Tensor] = field(default_factory=list)
    _mlp_out: list[Tensor] = field(default_factory=list)

    @property
    def hooks(self) -> list[Hook]:
        """To be in place during the run."""
        blocks = self.subject.blocks
        hooks = [*self.subject.input_hooks(self._inputs), OnInput(blocks[0].attention_norm.module, keep(self._stream))]
        for block in blocks:
            hooks.append(OnInput(block.output, keep(self._z)))
            if block.attention_post is not None:
                hooks.append(OnInput(block.attention_post.module, keep(self._attention_out)))
            hooks += block.mlp_written(keep(self._mlp_out))
        return hooks

    @property
    def writes(self) -> Writes:
        """What was written, when the run is over."""
        raw = [z.unflatten(-1, (self.subject.graph.heads, -1)) for z in self._z]
        mlp = [block.multiplied(out) for block, out in zip(self.subject.blocks, self._mlp_out, strict=False)]
        return Writes(self.subject.inputs(self._stream[0], self._inputs), self._scaled(raw), mlp, raw)

    def _scaled(self, raw: list[Tensor]) -> list[Tensor]:
        if not self._attention_out:
            return raw
        parts = zip(raw, self._attention_out, self.subject.blocks, strict=True)
        return [z * post_scale(block, out)[..., None] for z, out, block in parts]


def record(subject: Subject, tokens: Tensor, positions: Tensor) -> Recording:
    """One native forward run of `tokens` [example, position], recorded, without gradient."""
    recorder, attention_in, mlp_in, final_in = Recorder(subject), [], [], []
    hooks: list[Hook] = [*recorder.hooks, OnInput(subject.final_norm.module, keep(final_in))]
    for block in subject.blocks:
        hooks.append(OnInput(block.attention_norm.module, keep(attention_in)))
        hooks += block.mlp_stream(keep(mlp_in))
    with steady(subject.model), torch.no_grad(), hooked(hooks):
        logits = subject.logits(tokens, positions)
    return Recording(recorder.writes, logits, attention_in, mlp_in, final_in[0].to(subject.device))


def record_writes(subject: Subject, tokens: Tensor, positions: Tensor) -> tuple[Writes, Tensor]:
    """What the writers write in one such run, and its logits: half of what `record` holds."""
    recorder = Recorder(subject)
    with steady(subject.model), torch.no_grad(), hooked(recorder.hooks):
        logits = subject.logits(tokens, positions)
    return recorder.writes, logits


def keep(store: list[Tensor]) -> Callable[[Tensor], None]:
    """The action of a hook that appends what it sees to `store`, without gradient."""
    return lambda x: store.append(x.detach())


def post_scale(block: Block, summed: Tensor) -> Tensor:
    """[.., 1]: the scale by which a norm after attention multiplies the summed heads [.., d_model]."""
    assert block.attention_post is not None
    return block.attention_post.normalise(summed.float() if summed.dtype.itemsize < 4 else summed)[1].to(summed.dtype)
