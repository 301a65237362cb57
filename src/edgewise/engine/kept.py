"""Kept: how much of a native run autograd keeps for its backward pass, and whether there is room for it.

    kept(examples, tokens) = examples · (tokens · a + tokens² · b)

b is that of an attention that spells out its scores. Both are counted in two runs of one short prompt each, whose tensors
are let go at once; nothing is counted of a run that is small beyond doubt.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from edgewise.engine.tiling import free_memory, tiling_for
from edgewise.models.hooks import OnInput, hooked, steady
from edgewise.models.subject import Subject

# Tokens of the two prompts.
FEW_TOKENS, MORE_TOKENS = 8, 16
# No model keeps as many numbers a token as streams are wide, times its layers and this; nor so many for each attention score.
MOST_STREAMS, MOST_SCORES = 64, 8


def fits(subject: Subject, examples: int, tokens: int) -> bool:
    """Whether all that autograd keeps of such a run may be held at once, by the tiling and the memory that is free."""
    share = tiling_for(subject.device).kept_share
    free = free_memory(subject.device)
    if share == 0 or free is None:
        return share > 0
    return _at_most(subject, examples, tokens) <= share * free or kept(subject, examples, tokens) <= share * free


def kept(subject: Subject, examples: int, tokens: int) -> int:
    """Bytes that autograd keeps of a run on `examples` prompts of so many tokens."""
    short, long = (saved(subject, length) / length for length in (FEW_TOKENS, MORE_TOKENS))
    squared = max(0.0, (long - short) / (MORE_TOKENS - FEW_TOKENS))
    return round(examples * tokens * (short + squared * (tokens - FEW_TOKENS)))


def _at_most(subject: Subject, examples: int, tokens: int) -> int:
    each = MOST_STREAMS * subject.d_model + MOST_SCORES * subject.graph.heads * tokens
    return examples * tokens * subject.graph.layers * each * subject.dtype.itemsize


def saved(subject: Subject, tokens: int) -> int:
    """Bytes that autograd keeps of a run of one example: every storage it asks to save, counted and let go."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in subject.model.parameters()}
    seen: dict[int, StorageWeakRef] = {}
    total = 0

    def count(x: Tensor) -> None:
        nonlocal total
        storage, place = x.untyped_storage(), x.untyped_storage().data_ptr()
        if place not in weights and (place not in seen or seen[place].expired()):
            seen[place], total = StorageWeakRef(storage), total + storage.nbytes()

    prompt = torch.full((1, tokens), subject.ordinary_token, device=subject.device)
    leaf = OnInput(subject.blocks[0].module, lambda x: x.detach().requires_grad_())
    letting_go = torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing)
    with steady(subject.model), torch.enable_grad(), hooked([leaf]), letting_go:
        subject.logits(prompt, torch.tensor([tokens - 1], device=subject.device))
    return total
