"""How much attention every head spends on tokens of a kind: the one before, earlier ones alike, what followed, answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.engine.attention import attention_weights
from edgewise.models.subject import Subject
from edgewise.pairs import NO_ANSWER, Pairs
from edgewise.request import Request


@final
@dataclass(frozen=True)
class Attended:
    """Kind → the mean weight each head spends on it, in index order (None where no prompt has the kind), and what is `even`.

    `queries`: kind → over how many positions the means are.
    """

    weights: Mapping[str, tuple[float | None, ...]]
    even: Mapping[str, float | None]
    queries: Mapping[str, int]


@torch.no_grad()
def attended(request: Request) -> Attended:
    """The attention of all heads on the clean prompts of a request, up to the answer, or whole where the prompt goes on."""
    subject, graph = request.subject, request.subject.graph
    sums = {kind: torch.zeros(graph.layers, graph.heads, dtype=torch.float64) for kind in KEY_KINDS}
    even, queries = dict.fromkeys(KEY_KINDS, 0.0), dict.fromkeys(KEY_KINDS, 0)
    batches = -(-len(request.pairs) // request.batch_size)
    for pairs in request.track(request.pairs.batches(request.batch_size), batches, "looking where heads attend"):
        batch = subject.ready(pairs)
        seen, reach = _seen(subject, batch)
        masks = {kind: keys(batch) & seen for kind, keys in KEY_KINDS.items()}
        for kind, mask in masks.items():
            asked = mask.any(dim=-1)
            even[kind] += float((mask.sum(dim=-1) / reach)[asked].double().sum())
            queries[kind] += int(asked.sum())
        with closing(attention_weights(subject, batch.clean, batch.positions)) as layers:
            for layer, weights in enumerate(layers):
                for kind, mask in masks.items():
                    spent = (weights * mask[:, None].to(weights.device)).double().sum(dim=(0, 2, 3))
                    sums[kind][layer] += spent.cpu()
    return Attended(
        {kind: _means(sums[kind].flatten().tolist(), queries[kind]) for kind in KEY_KINDS},
        {kind: _means([even[kind]], queries[kind])[0] for kind in KEY_KINDS},
        queries,
    )


def _means(sums: list[float], count: int) -> tuple[float | None, ...]:
    return tuple(value / count if count else None for value in sums)


def _seen(subject: Subject, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Which keys each query of a prompt can see, [example, query, key], and how many these are, [example, query]."""
    width = pairs.clean.shape[1]
    places = torch.arange(width, device=pairs.clean.device)
    read = (
        places <= pairs.positions[:, None]
        if pairs.after == "padding"
        else torch.ones_like(pairs.clean, dtype=torch.bool)
    )
    order = places[:, None] >= places if subject.causal else torch.ones_like(places[:, None] >= places)
    seen = read[:, :, None] & read[:, None, :] & order
    return seen, seen.sum(dim=-1).clamp(min=1)


# -- the kinds: [example, query, key], whether that key is of the kind for that query ------------------------------------


def _previous(pairs: Pairs) -> Tensor:
    """From each token to the one before it."""
    width = pairs.clean.shape[1]
    one = torch.ones(width, width, dtype=torch.bool, device=pairs.clean.device)
    return (one.tril(-1) & one.triu(-1)).expand(len(pairs), -1, -1)


def _duplicate(pairs: Pairs) -> Tensor:
    """From a token to where it stood before."""
    tokens = pairs.clean
    return (tokens[:, :, None] == tokens[:, None, :]).tril(-1)


def _induction(pairs: Pairs) -> Tensor:
    """From a token to what followed it where it stood before."""
    return torch.nn.functional.pad(_duplicate(pairs)[:, :, :-1], (1, 0)).tril(-1)


def _correct(pairs: Pairs) -> Tensor:
    """From the answer position to the tokens that are correct answers."""
    return _answers(pairs, pairs.correct)


def _wrong(pairs: Pairs) -> Tensor:
    """From the answer position to the tokens that are wrong answers."""
    return _answers(pairs, pairs.wrong)


def _answers(pairs: Pairs, answers: Tensor) -> Tensor:
    of_answer = (pairs.clean[:, :, None] == answers[:, None, :]) & (answers != NO_ANSWER)[:, None, :]
    places = torch.arange(pairs.clean.shape[1], device=pairs.clean.device)
    return (places == pairs.positions[:, None])[:, :, None] & of_answer.any(dim=-1)[:, None, :]


KEY_KINDS: dict[str, Callable[[Pairs], Tensor]] = {
    "previous": _previous,
    "duplicate": _duplicate,
    "induction": _induction,
    "correct": _correct,
    "wrong": _wrong,
}
