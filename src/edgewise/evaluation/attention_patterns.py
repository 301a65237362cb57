"""Where heads attend in single prompts, as tensors, and packed for a page."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from edgewise.circuit import Circuit
from edgewise.engine.attention import attention_weights
from edgewise.graph import HEAD
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject
from edgewise.models.weights import keeping
from edgewise.pairs import Pairs, token_text
from edgewise.surroundings import neutrally
from edgewise.viewer.document import AttendedPrompt, AttentionEntry

# A page keeps weights of so many first prompts and no more of them than this; longer prompts could not be read as a picture.
PROMPTS_KEPT, MOST_WEIGHTS, LONGEST = 3, 1 << 21, 128


def patterns(subject: Subject, heads: Sequence[str], pair: Pairs) -> Iterator[tuple[str, Tensor]]:
    """Each of the heads with its weights [query, key], float32, in the clean prompt of one pair, layer by layer.

    Up to the answer, or in the whole prompt where that goes on.
    """
    ready = subject.ready(pair)
    end = _end(pair)
    with closing(attention_weights(subject, ready.clean, ready.positions)) as layers:
        for layer, weights in enumerate(layers):
            names = subject.graph.writers[subject.graph.head_writers(layer)]
            of_layer = dict(zip(names, weights[0, :, :end, :end].cpu(), strict=True))
            yield from ((head, of_layer[head]) for head in heads if head in of_layer)


def words_of(subject: Subject, pair: Pairs) -> tuple[str, ...]:
    """The tokens of the clean prompt of one pair, as far as `patterns` goes."""
    return tuple(token_text(subject.tokenizer, token) for token in pair.clean[0, : _end(pair)].tolist())


def _end(pair: Pairs) -> int:
    return int(pair.positions[0]) + 1 if pair.after == "padding" else pair.clean.shape[1]


@neutrally
@torch.no_grad()
def attention_of(subject: Subject, circuit: Circuit, pairs: Pairs) -> AttentionEntry | None:
    """Where the heads of a circuit attend in the first prompts, as a page keeps it; None if there is nothing to keep.

    The heads that write most of its edges come first where there is room for some only.
    """
    edges = circuit.circuit.without_dangling().mask.sum(dim=1).tolist()
    writing = zip(subject.graph.writers, edges, strict=True)
    heads = [name for name, count in sorted(writing, key=lambda one: -one[1]) if count and HEAD.fullmatch(name)]
    shown = [pairs[number] for number in range(min(PROMPTS_KEPT, len(pairs)))]
    shown = [pair for pair in shown if _end(pair) <= LONGEST]
    if not heads or not shown:
        return None
    sizes = [_end(pair) * (_end(pair) + 1) // 2 for pair in shown]
    heads = heads[: max(1, MOST_WEIGHTS // sum(sizes))]
    packed: dict[str, list[str]] = {head: [] for head in sorted(heads, key=subject.graph.writer_index.__getitem__)}
    with subject.at_work(), steady(subject.model), keeping():
        for pair in shown:
            for head, weights in patterns(subject, heads, pair):
                packed[head].append(_packed(weights))
    prompts = [AttendedPrompt(tokens=list(words_of(subject, pair)), answer=int(pair.positions[0])) for pair in shown]
    return AttentionEntry(prompts=prompts, heads=packed)


def _packed(weights: Tensor) -> str:
    """The weights of each position on those up to it, row by row, as bytes in base64.

    >>> base64.b64decode(_packed(torch.tensor([[1.0, 0.0], [0.2, 0.8]]))).hex(" ")
    'ff 33 cc'
    """
    row, column = torch.tril_indices(*weights.shape)
    shades = (weights[row, column].clamp(0, 1) * 255).round().to(torch.uint8)
    return base64.b64encode(shades.numpy().tobytes()).decode("ascii")
