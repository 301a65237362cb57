"""What large models on an accelerator cost, over the bare passes: the table of docs/results.md.

Ratios are medians of interleaved runs in one process, with the device waited for. `tiny_table` runs the same rows on tiny
models, to see that they run.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import GPT2Config, LlamaConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

import edgewise as ew
from benchmarks.attribution import Row
from benchmarks.pruning import open_gates
from benchmarks.setting import DEVICE, interleaved, memory_now, peak_memory, random_pairs, ratio, seconds_of
from edgewise.engine.forward import masked_forward
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.engine.writer_buffer import Workspace
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject

EDGES = 1000
VOCABULARY = 32_000


@dataclass(frozen=True)
class Shape:
    """A model of random weights: its config, and the dtype it is made in."""

    name: str
    config: Any
    dtype: torch.dtype

    def subject(self) -> Subject:
        """The model, made where it is measured."""
        torch.manual_seed(0)
        with torch.device(DEVICE):
            model = AutoModelForCausalLM.from_config(self.config, dtype=self.dtype).eval()
        return ew.load(model)


@dataclass(frozen=True)
class Sizes:
    """The shapes of a table, and how long and how many prompts are, as parts of those of the full one."""

    gpt2: Shape
    llama_1b: Shape
    llama_8b: Shape
    part: int = 1

    def pairs(self, examples: int, tokens: int) -> ew.Pairs:
        """Random pairs; of a tiny table fewer and shorter ones."""
        return random_pairs(max(2, examples // self.part), max(4, tokens // self.part), VOCABULARY)


def _llama(layers: int, width: int, inner: int) -> LlamaConfig:
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": layers}
    lengths = {"max_position_embeddings": 8192, "vocab_size": VOCABULARY}
    return LlamaConfig(hidden_size=width, intermediate_size=inner, **heads, **lengths)


FULL = Sizes(
    Shape("GPT-2 small float32", GPT2Config(), torch.float32),
    Shape("Llama-1B shape bf16", _llama(16, 2048, 8192), torch.bfloat16),
    Shape("Llama-8B shape bf16", _llama(32, 4096, 14_336), torch.bfloat16),
)
TINY = Sizes(
    Shape("GPT-2, tiny", GPT2Config(n_layer=2, n_embd=24), torch.float32),
    Shape("Llama, tiny, bf16", _llama(2, 64, 96), torch.bfloat16),
    Shape("Llama, tinier, bf16", _llama(1, 64, 96), torch.bfloat16),
    part=16,
)


def table(rounds: int) -> Iterator[Row]:
    """The rows at full size."""
    yield from _rows(FULL, rounds)


def tiny_table(rounds: int) -> Iterator[Row]:
    """The rows at sizes that any machine can run."""
    yield from _rows(TINY, rounds)


def _rows(sizes: Sizes, rounds: int) -> Iterator[Row]:
    with _made(sizes.gpt2) as subject:
        yield from _attribution(sizes, sizes.gpt2, subject, ((32, 16, "≤ 2"), (32, 128, "≤ 1.5")), rounds)
        yield from _walks(sizes, subject, rounds)
        yield _search(sizes, sizes.gpt2, subject, (32, 16), 0.003)
    with _made(sizes.llama_1b) as subject:
        yield from _attribution(sizes, sizes.llama_1b, subject, ((32, 128, "≤ 1.5"),), rounds)
    with _made(sizes.llama_8b) as subject:
        settings = ((8, 128, "≤ 1.5"), (1, 2048, "≤ 1.5"))
        yield from _attribution(sizes, sizes.llama_8b, subject, settings, rounds)
        pairs = sizes.pairs(8, 128)
        ours = partial(ew.attribute, subject, pairs, method="eap-ig", batch_size=len(pairs))
        times = interleaved(ours, partial(bare, subject, pairs, 5), rounds)
        yield _row(f"eap-ig, 5 points / its passes, {sizes.llama_8b.name}, {_size(pairs)}", times, "≤ 1.3")
        yield from _memory(sizes, subject)


@contextmanager
def _made(shape: Shape) -> Iterator[Subject]:
    """A model, gone from memory afterwards."""
    yield shape.subject()
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()


def bare(subject: Subject, pairs: ew.Pairs, backwards: int = 1) -> None:
    """Forward on corrupted, forward and backward on clean, answer logits alone, all pairs in one batch."""
    with steady(subject.model):
        forwards(subject, pairs, 1)
        for _ in range(backwards):
            embeds = subject.model.get_input_embeddings()(pairs.clean).detach().requires_grad_()
            logits = subject.model(inputs_embeds=embeds, use_cache=False, logits_to_keep=1).logits[:, -1]
            difference = logits.gather(1, pairs.correct) - logits.gather(1, pairs.wrong)
            torch.autograd.grad(difference.sum(), embeds)


@torch.no_grad()
def forwards(subject: Subject, pairs: ew.Pairs, count: int) -> None:
    """Forward runs of the native model, all pairs in one batch."""
    for _ in range(count):
        subject.model(input_ids=pairs.clean, use_cache=False, logits_to_keep=1)


def _attribution(
    sizes: Sizes, shape: Shape, subject: Subject, settings: tuple[tuple[int, int, str], ...], rounds: int
) -> Iterator[Row]:
    for examples, tokens, target in settings:
        pairs = sizes.pairs(examples, tokens)
        ours = partial(ew.attribute, subject, pairs, method="eap", batch_size=len(pairs))
        times = interleaved(ours, partial(bare, subject, pairs), rounds)
        yield _row(f"eap / bare passes, {shape.name}, {_size(pairs)}", times, target)


def _memory(sizes: Sizes, subject: Subject) -> Iterator[Row]:
    for examples, tokens in ((8, 128), (1, 2048), (1, 6000)):
        pairs = sizes.pairs(examples, tokens)
        taken = []
        for run in (
            partial(ew.attribute, subject, pairs, method="eap", batch_size=len(pairs)),
            partial(bare, subject, pairs),
        ):
            before = memory_now()
            run()
            taken.append(max(1, peak_memory() - before))
        shown = (f"{size / 2**20:,.0f} MiB" for size in taken)
        yield (f"eap / bare passes, memory, {_size(pairs)}", f"{taken[0] / taken[1]:.2f}", "≤ 1.15", *shown)


def _walks(sizes: Sizes, subject: Subject, rounds: int) -> Iterator[Row]:
    pairs, workspace = sizes.pairs(32, 16), Workspace()
    circuit = ew.attribute(subject, pairs, method="eap").top(min(EDGES, subject.graph.n_edges)).without_dangling()
    ours = partial(ew.evaluate, subject, circuit, pairs, metrics=["logit_diff"], batch_size=len(pairs), random=None)
    times = interleaved(ours, partial(forwards, subject, pairs, 3), rounds)
    yield _row(f"evaluate {len(circuit):,} edges / 3 forwards, {_size(pairs)}", times, "≤ 1.5")
    pairs = sizes.pairs(8, 128)
    replacement = Replacement.of_run(record(subject, pairs.corrupted, pairs.positions))
    mask = torch.rand(subject.graph.edge_mask.shape, generator=torch.Generator().manual_seed(0))
    mask = (mask * subject.graph.edge_mask).to(DEVICE)

    @torch.no_grad()
    def walk() -> object:
        return masked_forward(subject, pairs.clean, pairs.positions, mask, replacement, workspace=workspace)

    times = interleaved(walk, partial(forwards, subject, pairs, 1), rounds)
    yield _row(f"dense masked forward / forward, {_size(pairs)}", times, "≤ 2.5")
    for examples, tokens in ((8, 32), (32, 16)):
        pairs = sizes.pairs(examples, tokens)
        step = open_gates(subject, pairs, subject.graph.edge_mask).advance

        def bound(pairs: ew.Pairs = pairs) -> None:
            forwards(subject, pairs, 1)
            bare(subject, pairs)

        yield _row(f"a step of edge pruning / (2 f + f + b), {_size(pairs)}", interleaved(step, bound, rounds), "≤ 2.5")


def _search(sizes: Sizes, shape: Shape, subject: Subject, size: tuple[int, int], tau: float) -> Row:
    """ACDC once: what a test costs, in forwards; "ours" is tests a second."""
    pairs, found = sizes.pairs(*size), list[ew.Circuit]()
    seconds = seconds_of(lambda: found.append(ew.discover(subject, pairs, method="acdc", metric="kl", tau=tau)))
    tests = found[0].provenance["tested"]
    forward = statistics.median(seconds_of(partial(forwards, subject, pairs, 1)) for _ in range(3))
    label = f"acdc, {tests:,} tests, {shape.name}, {_size(pairs)}"
    return (label, f"{seconds / tests / forward:.3f}", "≥ 2,000/s", f"{tests / seconds:,.0f}/s", f"{forward:.4f} s")


def _size(pairs: ew.Pairs) -> str:
    return f"{len(pairs)} × {pairs.clean.shape[1]}"


def _row(label: str, times: tuple[list[float], list[float]], target: str) -> Row:
    seconds = (f"{statistics.median(one):.4f} s" for one in times)
    return (label, f"{ratio(*times):.2f}", target, *seconds)
