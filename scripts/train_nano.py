"""Train nano, the small model that ships with edgewise, and write its folder and model card.

python scripts/train_nano.py --out src/edgewise/assets/nano
"""

from __future__ import annotations

import argparse
import ctypes
import math
import random
import time
from pathlib import Path

import nano_card
import nano_text
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

UNKNOWN, BEGIN, PAD = "<unk>", "<bos>", "<pad>"
# A token is a line break with its indent, a docstring's quotes, ":param", a word, two digits, or one sign.
PATTERN = r'\n *| ?"""| ?:param| ?[A-Za-z]+| ?[0-9]{2}| ?[^\sA-Za-z]|\s'

POSITIONS = 64
# Products in bfloat16 take half the time where the CPU has instructions for them, and far longer where it has not.
HAS_BFLOAT16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
LEAD_WEIGHT = 0.1  # random text cannot be predicted: let it count little
REPORT_EVERY = 250


def main() -> None:
    args = parse_arguments()
    keep_memory()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    seconds = train(model, tokenizer, args)
    save(model, tokenizer, args.out)
    scores = nano_card.measure_all(model, tokenizer)
    print("\n".join(f"{name}: {score}" for name, score in scores.items()))
    run = nano_card.Run(seed=args.seed, steps=args.steps, rate=args.rate, threads=args.threads, seconds=seconds)
    (args.out / "README.md").write_text(nano_card.card(model, scores, run), encoding="utf-8")


def keep_memory() -> None:
    """Make glibc keep freed blocks: giving them back after each step costs half the time in page faults."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, size in ((-3, 32 << 20), (-1, 1 << 30), (-2, 1 << 28)):  # mmap threshold, trim threshold, top pad
            mallopt(option, size)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3300)
    parser.add_argument("--threads", type=int, default=1, help="more only help where nothing else runs")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    return parser.parse_args()


def make_tokenizer() -> PreTrainedTokenizerFast:
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    words = {piece for text in nano_text.vocabulary_texts() for piece, _ in split.pre_tokenize_str(text)}
    vocabulary = {token: index for index, token in enumerate([UNKNOWN, BEGIN, PAD, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, vocabulary[BEGIN])]
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=BEGIN,
        pad_token=PAD,
        model_max_length=POSITIONS,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    begin, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=POSITIONS,
        n_embd=128,
        n_layer=4,
        n_head=4,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=begin,
        eos_token_id=begin,
        pad_token_id=pad,
    )
    return GPT2LMHeadModel(config)


def train(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, args: argparse.Namespace) -> float:
    """Seconds the training took."""
    rng = random.Random(args.seed)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=args.rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, args.steps))
    start = time.monotonic()
    model.train()
    for step in range(1, args.steps + 1):
        optimizer.zero_grad()
        losses = {group: step_loss(model, tokenizer, nano_text.batch(group, rng)) for group in nano_text.GROUPS}
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % REPORT_EVERY == 0:
            report(step, losses, (time.monotonic() - start) / step)
    model.eval()
    return time.monotonic() - start


def rate_at(step: int, steps: int, warmup: int = 200) -> float:
    """Linear warm-up, then a cosine down to zero."""
    return min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / steps)))


def step_loss(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, samples: list[nano_text.Sample]) -> float:
    """Backpropagate the weighted loss of the samples; returns the loss of their tails."""
    tokens, weights = as_tensors(tokenizer, samples)
    with torch.autocast("cpu", torch.bfloat16, enabled=HAS_BFLOAT16):
        logits = model(tokens[:, :-1], use_cache=False).logits
    losses = cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    ((losses * weights).sum() / weights.sum()).backward()
    tails = weights == 1
    return losses.detach()[tails].mean().item()


def as_tensors(tokenizer: PreTrainedTokenizerFast, samples: list[nano_text.Sample]) -> tuple[Tensor, Tensor]:
    """Token ids and loss weights, [sample position], padded on the right with weight 0."""
    rows = [weighted_tokens(tokenizer, sample) for sample in samples]
    width = max(len(row) for row in rows)
    tokens = torch.full((len(samples), width), tokenizer.pad_token_id or 0)
    weights = torch.zeros(len(samples), width)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor([token for token, _ in row])
        weights[i, : len(row)] = torch.tensor([weight for _, weight in row])
    return tokens, weights


def weighted_tokens(tokenizer: PreTrainedTokenizerFast, sample: nano_text.Sample) -> list[tuple[int, float]]:
    pieces = [piece for part in sample.parts for piece in zip(part, (LEAD_WEIGHT, 1.0), strict=True)]
    encoded = tokenizer([text for text, _ in pieces], add_special_tokens=False)["input_ids"]
    begin = [(tokenizer.bos_token_id or 0, 0.0)]
    return begin + [(t, weight) for row, (_, weight) in zip(encoded, pieces, strict=True) for t in row]


def report(step: int, losses: dict[str, float], seconds: float) -> None:
    shown = "  ".join(f"{group} {loss:.4f}" for group, loss in losses.items())
    print(f"step {step}  {shown}  {seconds:.3f} s/step", flush=True)


def save(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
