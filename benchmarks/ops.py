"""`python -m benchmarks ops`: what each method asks of an accelerator, over what the bare passes ask, counted on the CPU.

Counts do not depend on widths, so the shapes are those of known models in layers and heads alone. A ratio of operations is
that of times where starting a kernel costs more than what it computes, as it does for small models and short prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.table import Table
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import edgewise as ew
from benchmarks.counting import Count, counted, counting
from benchmarks.other_device import elsewhere, moved
from benchmarks.pruning import open_gates
from edgewise.ablations import Corrupted
from edgewise.attribution.exact import effects_of
from edgewise.engine.forward import masked_forward
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.engine.writer_buffer import Workspace
from edgewise.errors import EdgewiseError
from edgewise.metrics import metric
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject
from edgewise.progress import silent
from edgewise.request import Request
from edgewise.search.incremental.pairs_at_once import PairsAtOnce
from edgewise.search.incremental.trials import Trials
from edgewise.search.state import removals_into

EXAMPLES, TOKENS, EDGES, PATCHED = 8, 16, 1000, 60
VOCABULARY = 211
ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


@dataclass(frozen=True)
class Work:
    """Something to count: `ours`, and the bare passes it needs at the least: so many forwards, so many backwards."""

    label: str
    ours: Callable[[], object]
    forwards: float
    backwards: float = 0


def gpt2_shape(layers: int = 12) -> Any:
    """GPT-2 small in layers and heads, narrow."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=96, vocab_size=VOCABULARY, **ENDS)).eval()


def llama_shape(layers: int = 16) -> Any:
    """Llama-3.2-1B in layers and heads, narrow."""
    torch.manual_seed(0)
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": layers}
    widths = {"hidden_size": 128, "intermediate_size": 192, "vocab_size": VOCABULARY}
    return LlamaForCausalLM(LlamaConfig(**heads, **widths, **ENDS)).eval()


def far(subject: Subject) -> Subject:
    """The subject with its model elsewhere; only inside `elsewhere`."""
    moved(subject.model)
    with subject.at_work():  # looked at anew here, where nothing is counted
        return subject


def random_pairs(examples: int = EXAMPLES, tokens: int = TOKENS, vocabulary: int = VOCABULARY) -> ew.Pairs:
    """Pairs of random tokens, on the CPU as those of a task are."""
    generator = torch.Generator().manual_seed(1)
    clean, corrupted = (torch.randint(1, vocabulary, (examples, tokens), generator=generator) for _ in range(2))
    correct = torch.arange(examples)
    return ew.Pairs.from_tokens(clean, corrupted, correct=correct, wrong=correct + 1)


def forward_count(subject: Subject, pairs: ew.Pairs) -> Count:
    """What a forward run of the native model asks for, answer logits alone."""
    tokens = pairs.clean.to(subject.device)

    @torch.no_grad()
    def run() -> None:
        subject.model(input_ids=tokens, use_cache=False, logits_to_keep=1)

    with steady(subject.model):
        return counted(run)


def both_count(subject: Subject, pairs: ew.Pairs) -> Count:
    """What a forward and a backward run from the embeddings ask for."""
    tokens = pairs.clean.to(subject.device)
    right, wrong = pairs.correct.to(subject.device), pairs.wrong.to(subject.device)

    def run() -> None:
        embeds = subject.model.get_input_embeddings()(tokens).detach().requires_grad_()
        logits = subject.model(inputs_embeds=embeds, use_cache=False, logits_to_keep=1).logits[:, -1]
        torch.autograd.grad((logits.gather(1, right) - logits.gather(1, wrong)).sum(), embeds)

    with steady(subject.model), torch.enable_grad():
        return counted(run)


def masked(subject: Subject, pairs: ew.Pairs, mask: torch.Tensor) -> Callable[[], object]:
    """A masked forward with everything at hand."""
    ready, workspace = subject.ready(pairs), Workspace()
    replacement = Replacement.of_run(record(subject, ready.corrupted, ready.positions))

    @torch.no_grad()
    def run() -> object:
        return masked_forward(subject, ready.clean, ready.positions, mask, replacement, workspace=workspace)

    return run


def works(subject: Subject, pairs: ew.Pairs) -> Iterator[Work]:
    """What is counted of a model."""
    yield from few_works(subject, pairs)
    attribute, points = partial(ew.attribute, subject, pairs, batch_size=EXAMPLES), 2 * subject.graph.layers
    yield Work("atp-qk", partial(attribute, method="atp-qk"), 3, 1)
    yield Work("atp-graddrop", partial(attribute, method="atp-graddrop"), 2, subject.graph.layers)
    yield Work(
        "eap-ig-activations, 1 step", partial(attribute, method="eap-ig-activations", steps=1), 2 + points, points
    )
    request = Request(subject, pairs, metric("logit_diff"), Corrupted(), EXAMPLES, silent)
    edges = subject.graph.edges[:: -(-subject.graph.n_edges // PATCHED)]
    yield Work(f"exact, {len(edges)} edges", partial(effects_of, request, edges), 2 + len(edges) / 2)


def few_works(subject: Subject, pairs: ew.Pairs) -> Iterator[Work]:
    """What is counted of a real model too, whose every run takes seconds here."""
    subject.context(pairs.clean.shape[1])  # made once for a width, by whoever comes first
    for name, forwards, backwards in (("eap", 2, 1), ("eap-ig", 6, 5)):
        yield Work(name, partial(ew.attribute, subject, pairs, batch_size=EXAMPLES, method=name), forwards, backwards)
    scores = ew.attribute(subject, pairs, method="eap", batch_size=EXAMPLES)
    circuit = scores.top(EDGES).without_dangling()
    yield Work(
        f"evaluate, {EDGES:,} edges",
        partial(ew.evaluate, subject, circuit, pairs, metrics=["logit_diff"], batch_size=EXAMPLES, random=None),
        3,
    )
    yield Work(f"walk, {EDGES:,} edges", masked(subject, pairs, circuit.mask), 1)
    dense = torch.rand(subject.graph.edge_mask.shape, generator=torch.Generator().manual_seed(0))
    yield Work("walk, all edges in part", masked(subject, pairs, dense * subject.graph.edge_mask), 1)
    training = open_gates(subject, pairs, subject.graph.edge_mask)
    training.advance()
    yield Work("a step of edge pruning", training.advance, 1, 1)


def searches(subject: Subject, pairs: ew.Pairs) -> Iterator[Work]:
    """What is counted of a small model: there are too many tests in a large one."""
    search = partial(ew.discover, subject, pairs, method="acdc", tau=1e-4)
    tests = search().provenance["tested"]
    yield Work(f"acdc, {tests:,} tests", search, 2 + tests)


@torch.no_grad()
def batches_of_tests(subject: Subject, pairs: ew.Pairs) -> Iterator[Work]:
    """Single batches of a search, against one forward; behind the reader edges are kept that are drawn at random."""
    graph, request = subject.graph, Request(subject, pairs, metric("kl"), Corrupted(), len(pairs), silent)
    for layer in (graph.layers - 1, graph.layers // 2, 1):
        kept, behind = graph.edge_mask.clone(), graph.edge_mask.nonzero()
        behind = behind[behind[:, 1] >= graph.mlp_reader(layer)]
        kept[tuple(behind[torch.randperm(len(behind), generator=torch.Generator().manual_seed(0))[EDGES:]].T)] = False
        at_hand = PairsAtOnce.of(request, kept)
        removals = removals_into(graph, [graph.v_readers(layer).stop - 1], kept)[: at_hand.most]
        ask = torch.no_grad()(partial(at_hand.sums, Trials(tuple(removals), (False,) * len(removals))))
        ask()  # what belongs to the layer is made
        yield Work(f"acdc, {len(removals)} tests at layer {layer} in one batch, {EDGES:,} edges behind", ask, 1)


def rows(subject: Subject, pairs: ew.Pairs, listed: Iterator[Work]) -> Iterator[tuple[str, ...]]:
    """A row for each work: operations and so on, and their ratio to the bare passes where these have any."""
    forward, both = forward_count(subject, pairs), both_count(subject, pairs)
    ew.attribute(subject, pairs[:1], method="eap")  # what is made on first use is made
    for work in listed:
        try:
            with counting() as count:
                work.ours()
        except EdgewiseError as error:
            yield (work.label, str(error)[:60], "", "", "", "", "")
            continue
        passes = work.forwards - work.backwards
        bare = {
            n: passes * getattr(forward, n) + work.backwards * getattr(both, n) for n in vars(forward) if n != "names"
        }
        yield (
            work.label,
            f"{count.operations:,}",
            f"{count.operations / bare['operations']:.2f}",
            f"{count.views / bare['views']:.2f}",
            f"{count.waits:,}",
            f"{count.uploads:,}",
            f"{count.copied / bare['copied']:.1f}",
        )


COLUMNS = ("work", "operations", "/ bare", "views / bare", "host waits", "uploads", "bytes copied / bare")
# A title, and a row for each work.
Counted = tuple[str, list[tuple[str, ...]]]


def shown(counts: Iterator[Counted]) -> Iterator[Table]:
    """Each as a table."""
    for title, body in counts:
        table = Table(title=title, title_justify="left")
        for column in COLUMNS:
            table.add_column(column, no_wrap=True)
        for row in body:
            table.add_row(*row)
        yield table


def counts() -> Iterator[Counted]:
    """What is counted of shapes of random weights."""
    pairs = random_pairs()
    with elsewhere():
        for name, model in (("GPT-2 small's shape", gpt2_shape()), ("Llama-3.2-1B's shape", llama_shape())):
            subject = far(ew.load(model))
            yield f"{name}, {EXAMPLES} × {TOKENS} tokens", [*rows(subject, pairs, works(subject, pairs))]
        large = far(ew.load(llama_shape(32)))  # Llama-3.1-8B in layers and heads
        yield (
            f"Llama-3.1-8B's shape, {EXAMPLES} × {TOKENS} tokens",
            [*rows(large, pairs, batches_of_tests(large, pairs))],
        )
        small = far(ew.load(gpt2_shape(1)))
        yield "one layer of GPT-2 small's shape", [*rows(small, pairs, searches(small, pairs))]


def real_counts() -> Iterator[Counted]:
    """What is counted of SmolLM2-135M, which has to be at hand."""
    near = ew.load("smollm2")
    pairs = ew.task("ioi").pairs(near.tokenizer, n=EXAMPLES, seed=0)
    with elsewhere():
        subject = far(near)
        yield f"SmolLM2-135M, ioi, {EXAMPLES} pairs", [*rows(subject, pairs, few_works(subject, pairs))]


def tables() -> Iterator[Table]:
    """The tables of the shapes."""
    return shown(counts())


def real_tables() -> Iterator[Table]:
    """The table of the real model."""
    return shown(real_counts())
