"""What the benchmarks run on: a GPT-2-small shape with random weights, and random pairs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import edgewise as ew
from edgewise.models.hooks import steady
from edgewise.models.subject import Subject

# (examples, tokens) of the two settings every figure is quoted for.
SETTINGS = ((32, 16), (8, 128))
BATCH = 8


def gpt2_small() -> Any:
    """GPT-2 small's shape, random weights, float32."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config()).eval()


def random_pairs(examples: int, tokens: int, vocabulary: int = 50257) -> ew.Pairs:
    """Pairs of random tokens with one right and one wrong answer."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randint(0, vocabulary, shape, generator=generator)

    correct = draw(examples)
    return ew.Pairs.from_tokens(
        draw(examples, tokens), draw(examples, tokens), correct=correct, wrong=(correct + 1) % vocabulary
    )


def llama_shape() -> Any:
    """24 layers of width 1024 with grouped keys and values, random weights, float32."""
    torch.manual_seed(0)
    shape = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "vocab_size": 50257}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings": 1024}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, tie_word_embeddings=True)).eval()


def bare_passes(subject: Subject, pairs: ew.Pairs, backwards: int = 1) -> None:
    """The least EAP can cost: forward on corrupted, forward and backward on clean, answer logits alone.

    With more `backwards` the least EAP-IG can cost, with so many points.
    """
    model = subject.model
    with steady(model):
        for batch in pairs.batches(BATCH):
            with torch.no_grad():
                model(input_ids=batch.corrupted, use_cache=False, logits_to_keep=1)
            for _ in range(backwards):
                embeds = model.get_input_embeddings()(batch.clean).detach().requires_grad_()
                logits = model(inputs_embeds=embeds, use_cache=False, logits_to_keep=1).logits[:, -1]
                rows = torch.arange(len(logits))
                difference = logits[rows, batch.correct[:, 0]] - logits[rows, batch.wrong[:, 0]]
                torch.autograd.grad(difference.sum(), embeds)


@torch.no_grad()
def plain_forward(subject: Subject, pairs: ew.Pairs, batch: int = BATCH) -> None:
    """The native model on the clean prompts, answer logits alone."""
    for part in pairs.batches(batch):
        subject.model(input_ids=part.clean, use_cache=False, logits_to_keep=1)


def interleaved(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of both, run in turn `rounds` times after one unmeasured round."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, seconds in zip((first, second), times, strict=True):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
    return times


def ratio(ours: list[float], bound: list[float]) -> float:
    """Median of the ratios of neighbouring runs, which a drifting machine disturbs least."""
    return statistics.median(a / b for a, b in zip(ours, bound, strict=True))


def spread(values: list[float]) -> Iterator[float]:
    """Smallest, median and largest."""
    yield from (min(values), statistics.median(values), max(values))
