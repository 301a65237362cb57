"""look: what the heads and MLPs of a circuit do, one by one: where heads attend, and what each says directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.engine.logit_lens import answer_directions, normed_writes, unembedded
from edgewise.engine.record import record
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.evaluation.attention_patterns import patterns, words_of
from edgewise.evaluation.seen import Look, NodeLook, Pattern
from edgewise.graph import HEAD
from edgewise.metrics import METRICS, Answers
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject
from edgewise.models.weights import keeping
from edgewise.pairs import NO_ANSWER, Pairs, token_text
from edgewise.progress import Track, silent, watched
from edgewise.surroundings import neutrally


@typed
@watched
@neutrally
@torch.no_grad()
def look(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    circuit: Circuit,
    pairs: Pairs,
    *,
    prompts: int = 3,
    tokens: int = 5,
    batch_size: int = 8,
    track: Track = silent,
    progress: bool | None = None,
) -> Look:
    """Look at what each node of a circuit does: where its heads attend, and what it says to the logits directly.

    `subject`, `pairs`, `batch_size`, `track`, `progress`: as in `attribute`. Every pair needs a wrong answer.
    `circuit`: the circuit; of its nodes those on a path from input to logits are looked at, in the whole model.
    `prompts`: for how many of the clean prompts, the first ones, attention is kept.
    `tokens`: how many tokens that a node promotes, and suppresses, are kept.

    What a node writes at the answer goes through the final norm, at the scale it has in the clean run, and the
    unembedding. So nodes add up: with all others and the biases to the logit difference of the clean run, before a soft
    cap. Returns a Look. Raises GraphMismatch for a circuit of another model, InvalidValue for one without a path.
    """
    if circuit.graph != subject.graph:
        raise GraphMismatch(f"the circuit is of another model: {circuit.graph}; {subject.name} has {subject.graph}")
    for name, value, least in (("prompts", prompts, 0), ("tokens", tokens, 0), ("batch_size", batch_size, 1)):
        if value < least:
            raise InvalidValue(f"{name}={value}: it must be at least {least}")
    writing = circuit.without_dangling().mask.any(dim=1).tolist()
    nodes = [name for name, writes in zip(subject.graph.writers, writing, strict=True) if writes]
    if not nodes:
        raise InvalidValue("no path leads from input to logits in this circuit, so there is nothing to look at")
    if bool((pairs.wrong == NO_ANSWER).all(dim=1).any()):
        raise InvalidValue(
            "look compares correct with wrong answers, and some pairs have no wrong one; give pairs with both"
        )
    with subject.at_work(), steady(subject.model), keeping():
        said = _said(subject, nodes, pairs, batch_size, track)
        patterns = _patterns(
            subject, [node for node in nodes if HEAD.fullmatch(node)], pairs[: min(prompts, len(pairs))]
        )
        logits = unembedded(subject, said.mean)
    words = [_extremes(subject, row, tokens) for row in logits]
    looks = tuple(
        NodeLook(node, share, promoted, suppressed, tuple(patterns.get(node, ())))
        for node, share, (promoted, suppressed) in zip(nodes, said.shares, words, strict=True)
    )
    return Look(subject.name, pairs.fingerprint, len(pairs), said.whole, looks)


@final
@dataclass(frozen=True)
class _Said:
    """Of each node what the unembedding gets, mean over the pairs, and its share of the logit difference `whole`."""

    mean: Tensor
    shares: list[float]
    whole: float


def _said(subject: Subject, nodes: Sequence[str], pairs: Pairs, batch_size: int, track: Track) -> _Said:
    chosen = [subject.graph.writer_index[node] for node in nodes]
    mean = torch.zeros(len(nodes), subject.d_model, dtype=torch.float64)
    shares, whole = torch.zeros(len(nodes), dtype=torch.float64), 0.0
    batches = -(-len(pairs) // batch_size)
    for batch in track(pairs.batches(batch_size), batches, f"looking at {len(nodes)} nodes"):
        ready = subject.ready(batch)
        clean = record(subject, ready.clean, ready.positions)
        answers = Answers(ready.correct, ready.wrong)
        whole += float(METRICS["logit_diff"].value(clean.logits, answers, clean.logits).double().sum())
        normed = normed_writes(subject, clean, ready.positions)[chosen]
        mean += normed.double().sum(dim=1).cpu()
        directions = answer_directions(subject, ready).to(normed.device)
        shares += torch.einsum("ned,ed->n", normed.double(), directions.double()).cpu()
    count = len(pairs)
    return _Said((mean / count).to(subject.device, subject.work_dtype), (shares / count).tolist(), whole / count)


def _extremes(subject: Subject, logits: Tensor, count: int) -> tuple[tuple[tuple[str, float], ...], ...]:
    """The tokens with the largest and with the smallest logits, against the mean of all."""
    centred, found = logits.float() - logits.float().mean(), []
    for largest in (True, False):
        values, places = centred.topk(min(count, len(centred)), largest=largest)
        pairs = zip(places.tolist(), values.tolist(), strict=True)
        found.append(tuple((token_text(subject.tokenizer, token), value) for token, value in pairs))
    return tuple(found)


def _patterns(subject: Subject, heads: Sequence[str], pairs: Pairs) -> dict[str, list[Pattern]]:
    """Where each head attends, prompt by prompt."""
    found: dict[str, list[Pattern]] = {head: [] for head in heads}
    for number in range(len(pairs) if heads else 0):
        pair = pairs[number]
        words, answer = words_of(subject, pair), int(pair.positions[0])
        for head, weights in patterns(subject, heads, pair):
            kept = tuple(tuple(round(value, 4) for value in row) for row in weights.tolist())
            found[head].append(Pattern(words, answer, kept))
    return found
