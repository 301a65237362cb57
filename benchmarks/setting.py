"""What the benchmarks run on: a GPT-2-small shape with random weights, and random pairs, on one device."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
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
# In the environment, so that the processes in which memory is measured know it too.
DEVICE = torch.device(os.environ.get("EDGEWISE_BENCH_DEVICE", "cpu"))


def gpt2_small() -> Any:
    """GPT-2 small's shape, random weights, float32."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config()).eval().to(DEVICE)


def random_pairs(examples: int, tokens: int, vocabulary: int = 50257) -> ew.Pairs:
    """Pairs of random tokens with one right and one wrong answer."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randint(0, vocabulary, shape, generator=generator)

    correct = draw(examples)
    return ew.Pairs.from_tokens(
        draw(examples, tokens), draw(examples, tokens), correct=correct, wrong=(correct + 1) % vocabulary
    ).to(DEVICE)


def llama_shape() -> Any:
    """24 layers of width 1024 with grouped keys and values, random weights, float32."""
    torch.manual_seed(0)
    shape = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "vocab_size": 50257}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings": 1024}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, tie_word_embeddings=True)).eval().to(DEVICE)


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
            seconds.append(seconds_of(run))
    return times


def seconds_of(run: Callable[[], object]) -> float:
    """How long it takes, what it leaves the device to do included."""
    settle()
    started = time.perf_counter()
    run()
    settle()
    return time.perf_counter() - started


def settle() -> None:
    """Wait until the device has done what it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def ratio(ours: list[float], bound: list[float]) -> float:
    """Median of the ratios of neighbouring runs, which a drifting machine disturbs least."""
    return statistics.median(a / b for a, b in zip(ours, bound, strict=True))


def spread(values: list[float]) -> Iterator[float]:
    """Smallest, median and largest."""
    yield from (min(values), statistics.median(values), max(values))


def memory_now() -> int:
    """Bytes taken now, resident or on the device, the peak so far forgotten where the system allows it."""
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024


def peak_memory() -> int:
    """Most memory this process has taken, resident or on the device, in bytes."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: there a child starts with the peak of the process that spawned it.
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
