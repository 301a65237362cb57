"""What the laws ask of a subject: each gives how far two ways to the same numbers are from each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from edgewise.api import attribute
from edgewise.circuit import Circuit
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.errors import InvalidValue
from edgewise.evaluation import evaluate
from edgewise.loading import load
from edgewise.metrics import Answers, logit_diff
from edgewise.models import Separate, Subject
from edgewise.pairs import Pairs
from edgewise.testing.law_report import distance
from edgewise.testing.traces import state_of

N_EXAMPLES, N_TOKENS = 5, 7
# Beyond this, scoring every edge by its removal takes too long for a check.
EDGES_REMOVED = 6000
Measure = Callable[[Subject, Pairs], float]


def random_pairs(subject: Subject) -> Pairs:
    """Pairs of random tokens for any model, the same every time.

    `subject`: the model, from `load`. Answers stand at different positions, unless it reads in both directions.

    Returns Pairs. Raises InvalidValue for a vocabulary of fewer than three tokens.
    """
    generator = torch.Generator().manual_seed(0)
    vocabulary, width = subject.vocab_size, min(N_TOKENS, subject.longest_prompt or N_TOKENS)
    padding = subject.pad_token
    known = torch.tensor([token for token in range(min(vocabulary, 5000)) if token != padding])
    if len(known) < 3:
        raise InvalidValue(f"the vocabulary has {vocabulary} tokens, but pairs need at least three")

    def drawn(*shape: int) -> Tensor:
        return known[torch.randint(len(known), shape, generator=generator)]

    clean, other = drawn(N_EXAMPLES, width), drawn(N_EXAMPLES, width)
    corrupted = torch.where(torch.rand(clean.shape, generator=generator) < 0.5, other, clean)
    corrupted[:, 0] = other[:, 0]
    correct = drawn(N_EXAMPLES, 1)
    wrong = known[(torch.searchsorted(known, correct) + 1) % len(known)]
    if not subject.causal:
        return Pairs.from_tokens(clean, corrupted, correct=correct, wrong=wrong)
    positions = width - 1 - torch.arange(N_EXAMPLES) % max(1, width - 2)
    return Pairs.from_tokens(clean, corrupted, correct=correct, wrong=wrong, positions=positions)


def laws(subject: Subject) -> Iterator[tuple[str, Measure]]:
    """Those that can be asked of this subject, in the numbering of docs/design.md."""
    yield "1 all edges kept is the clean run", _all_kept
    yield "2 no edge kept is the corrupted run", _none_kept
    yield "3 eap scores are the gradient in the mask", _gradient
    yield "6 scores do not depend on batch size and order", _batches
    if subject.causal:
        yield "6 scores do not depend on what stands behind the answer", _padding
    yield "7 edges on no path from input to logits change nothing", _dangling
    yield "8 no call leaves a trace", _trace
    if subject.graph.n_edges <= EDGES_REMOVED:
        yield "9 exact scores are what removing that edge costs", _removal
    grouped = subject.graph.kv_heads < subject.graph.heads
    if grouped and issubclass(subject.family.projections, Separate) and subject.kv == "native":
        yield "10 a shared key or value scores what its heads would together", _shared


def _all_kept(on: Subject, of: Pairs) -> float:
    return distance(_walked(on, of, on.graph.edge_mask), on.logits(*_clean(on, of)))


def _none_kept(on: Subject, of: Pairs) -> float:
    expected = on.logits(of.corrupted.to(on.device), of.positions.to(on.device))
    nothing = torch.zeros_like(on.graph.edge_mask)
    walks = (_walked(on, of, nothing), _walked(on, of, nothing, candidates=on.graph.edge_mask))
    return max(distance(walked, expected) for walked in walks)


def _gradient(on: Subject, of: Pairs) -> float:
    mask = on.graph.edge_mask.to(on.device, on.work_dtype).requires_grad_()
    logits = masked_forward(on, *_clean(on, of), mask, _corrupted(on, of))
    answers = Answers(of.correct.to(on.device), of.wrong.to(on.device))
    gradient = torch.autograd.grad(logit_diff(logits, answers, logits).mean(), mask)[0].cpu() * on.graph.edge_mask
    return distance(attribute(on, of, method="eap").values, gradient)


def _batches(on: Subject, of: Pairs) -> float:
    expected = attribute(on, of, method="eap", batch_size=N_EXAMPLES).values
    ways = ((of, 1), (of[[3, 0, 4, 2, 1]], 2))
    return max(distance(attribute(on, some, method="eap", batch_size=size).values, expected) for some, size in ways)


def _padding(on: Subject, of: Pairs) -> float:
    """Every token behind an answer is another one."""
    behind = torch.arange(of.clean.shape[1]) > of.positions[:, None]
    clean, corrupted = (torch.where(behind, tokens.flip(1), tokens) for tokens in (of.clean, of.corrupted))
    other = Pairs(clean, corrupted, of.correct, of.wrong, of.positions)
    mask = torch.rand(on.graph.edge_mask.shape, generator=torch.Generator().manual_seed(1)) * on.graph.edge_mask
    walks = [_walked(on, some, mask) for some in (of, other)]
    scores = [attribute(on, some, method="eap").values for some in (of, other)]
    return max(distance(*walks), distance(*scores))


def _dangling(on: Subject, of: Pairs) -> float:
    """Circuits of several sizes, computed where they are and everywhere, and without what dangles."""
    worst = 0.0
    for seed, density in enumerate((0.05, 0.12, 0.3)):
        drawn = torch.rand(on.graph.edge_mask.shape, generator=torch.Generator().manual_seed(seed)) < density
        circuit = Circuit(on.graph, drawn & on.graph.edge_mask)
        sparse = _walked(on, of, circuit.mask)
        dense = _walked(on, of, circuit.mask, candidates=on.graph.edge_mask)
        less = _walked(on, of, circuit.without_dangling().mask)
        worst = max(worst, distance(dense, sparse), distance(less, sparse))
    return worst


def _trace(on: Subject, of: Pairs) -> float:
    """How many things about the model and torch are others after scoring and judging."""
    before = state_of(on.model)
    circuit = attribute(on, of, method="eap").top(max(1, on.graph.n_edges // 10))
    evaluate(on, circuit, of)
    after = state_of(on.model)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise InvalidValue(f"changed: {', '.join(changed[:5])}")
    return 0.0


def _removal(on: Subject, of: Pairs) -> float:
    exact, full = attribute(on, of, method="exact"), Circuit.full(on.graph)
    whole = evaluate(on, full, of, random=None)["logit_diff"].circuit
    worst = 0.0
    for edge in on.graph.edges[:: max(1, on.graph.n_edges // 8)]:
        without = evaluate(on, full - Circuit.from_edges(on.graph, [edge]), of, random=None)["logit_diff"].circuit
        worst = max(worst, abs(whole - without - exact[edge]))
    return worst / float(on.logits(*_clean(on, of)).abs().max())


def _shared(on: Subject, of: Pairs) -> float:
    apart = load(on.model, family=on.family, kv="ungrouped")
    ours, theirs = (attribute(subject, of, method="eap").values for subject in (on, apart))
    graph, group = on.graph, on.graph.heads // on.graph.kv_heads
    worst = 0.0
    for layer in range(graph.layers):
        for mine, other in ((graph.k_readers, apart.graph.k_readers), (graph.v_readers, apart.graph.v_readers)):
            summed = theirs[:, other(layer)].unflatten(1, (-1, group)).sum(dim=2)
            worst = max(worst, float((ours[:, mine(layer)] - summed).abs().max()))
    return worst / float(ours.abs().max().clamp(min=1e-30))


# -- runs and what they leave -----------------------------------------------------------------------------------------


def _clean(on: Subject, of: Pairs) -> tuple[Tensor, Tensor]:
    return of.clean.to(on.device), of.positions.to(on.device)


def _corrupted(on: Subject, of: Pairs) -> Replacement:
    return Replacement.of_run(record(on, of.corrupted.to(on.device), of.positions.to(on.device)))


def _walked(on: Subject, of: Pairs, mask: Tensor, *, candidates: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        weights = Mask(mask.to(on.device, on.work_dtype), candidates=candidates)
        return masked_forward(on, *_clean(on, of), weights, _corrupted(on, of))
