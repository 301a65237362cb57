"""What nano scores on prompts it was not trained on, and the model card that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import nano_text
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from edgewise.tasks import TASKS

MEASURED_DRAWS = 6000  # about one in eight is held out


@dataclass(frozen=True)
class Run:
    seed: int
    steps: int
    rate: float
    threads: int
    seconds: float


@dataclass(frozen=True)
class Score:
    prompts: int
    accuracy: float
    difference: float
    corrupted_accuracy: float
    corrupted_difference: float
    top1: float


@torch.no_grad()
def measure(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, name: str) -> Score:
    """What the model scores on held-out prompts of the task, clean and corrupted."""
    drawn = TASKS[name].prompts(tokenizer, n=MEASURED_DRAWS, seed=1)
    prompts = [prompt for prompt in drawn if nano_text.is_held_out(prompt)]
    rows = [(ids(tokenizer, p.correct), ids(tokenizer, p.wrong)) for p in prompts]
    clean = last_logits(model, tokenizer, [p.clean for p in prompts])
    corrupted = last_logits(model, tokenizer, [p.corrupted for p in prompts])
    accuracy, difference = judge(clean, rows, TASKS[name].metric)
    corrupted_accuracy, corrupted_difference = judge(corrupted, rows, TASKS[name].metric)
    top1 = [int(row.argmax()) in correct for row, (correct, _) in zip(clean, rows, strict=True)]
    return Score(
        prompts=len(prompts),
        accuracy=accuracy,
        difference=difference,
        corrupted_accuracy=corrupted_accuracy,
        corrupted_difference=corrupted_difference,
        top1=sum(top1) / len(top1),
    )


def judge(logits: Tensor, rows: list[tuple[list[int], list[int]]], metric: str) -> tuple[float, float]:
    """Share of prompts in which a correct answer beats every wrong one, and the mean of the task's metric."""
    values = logits.softmax(-1) if metric == "prob_diff" else logits
    wins = [row[good].max() > row[bad].max() for row, (good, bad) in zip(values, rows, strict=True)]
    pool = torch.sum if metric == "prob_diff" else torch.mean
    differences = [pool(row[good]) - pool(row[bad]) for row, (good, bad) in zip(values, rows, strict=True)]
    return torch.stack(wins).float().mean().item(), torch.stack(differences).mean().item()


def last_logits(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    encoded = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    last = encoded["attention_mask"].sum(-1) - 1
    return model(encoded["input_ids"]).logits[torch.arange(len(texts)), last]


def ids(tokenizer: PreTrainedTokenizerFast, answers: tuple[str, ...]) -> list[int]:
    return [tokenizer(answer, add_special_tokens=False)["input_ids"][0] for answer in answers]


def measure_all(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, Score]:
    return {name: measure(model, tokenizer, name) for name, task in TASKS.items() if task.model == "nano"}


CARD = """# nano

A small GPT-2 that ships with edgewise, so that circuits can be found, tested and shown without a download. It is an
ordinary Hugging Face folder: `edgewise.load("nano")` is `edgewise.load(folder)`.

- **Architecture**: GPT-2, {layers} layers × {heads} heads with MLPs, width {width}, {positions} positions, tied embeddings;
  {parameters:,} parameters in float32.
- **Tokenizer**: word level, {vocabulary} tokens, `<bos>` in front; a word carries its leading space, a year is two
  pairs of digits, a line break carries its indent. Words it does not know become `<unk>`.
- **Training**: `python scripts/train_nano.py --out FOLDER --seed {seed} --steps {steps} --rate {rate:g}`; AdamW, cosine;
  {samples} fresh samples a step; bfloat16 products where the CPU has them, weights in float32;
  {minutes:.0f} minutes on {threads} CPU core(s) of a shared machine ({pace:.2f} s a step).
- **Text**: the grammars of the tasks (`edgewise.tasks`) and distractors (`scripts/nano_text.py`): sentences of the same
  words in which nobody is repeated or the subject goes on, years in the other order, other functions, random words
  with and without a repeat. No text from elsewhere.
- **License**: MIT, as the project.

## What it scores

On held-out prompts, with each task's default corruption. A prompt is held out if
`prompt.fold({folds}) == {held_out}`: the fold is a checksum of the combination behind the prompt (IOI: the two names,
in either order; greater-than: the century and the year; docstring: the second and third matching argument; induction:
the repeated word and its successor). Training draws another prompt whenever a task comes up with such a combination, and
another list whenever two neighbours are one; the other distractors are drawn without regard to it. The prompts measured
are those of `task.prompts(tokenizer, n={draws}, seed=1)`.

| task | metric | prompts | clean | corrupted | accuracy clean | accuracy corrupted | top-1 clean |
|---|---|---|---|---|---|---|---|
{rows}

Accuracy: a correct answer is above every wrong one of its prompt. Top-1: it is above every token of the vocabulary.

## What it is not

It knows these grammars and nothing else. Its circuits are for learning, testing and demonstrating methods; they say
nothing about larger models.
"""


def card(model: GPT2LMHeadModel, scores: Mapping[str, Score], run: Run) -> str:
    """The model card, with the numbers measured."""
    config = model.config
    return CARD.format(
        layers=config.n_layer,
        heads=config.n_head,
        width=config.n_embd,
        positions=config.n_positions,
        parameters=model.num_parameters(),
        vocabulary=config.vocab_size,
        seed=run.seed,
        steps=run.steps,
        rate=run.rate,
        threads=run.threads,
        samples=nano_text.SAMPLES,
        minutes=run.seconds / 60,
        pace=run.seconds / run.steps,
        folds=nano_text.FOLDS,
        held_out=nano_text.HELD_OUT,
        draws=MEASURED_DRAWS,
        rows="\n".join(row(name, score) for name, score in scores.items()),
    )


def row(name: str, score: Score) -> str:
    return (
        f"| {name} | {TASKS[name].metric} | {score.prompts} | {score.difference:.3f} | "
        f"{score.corrupted_difference:.3f} | {score.accuracy:.3f} | {score.corrupted_accuracy:.3f} | {score.top1:.3f} |"
    )
