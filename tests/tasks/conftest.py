"""Two tokenizers: nano's, and a byte-level BPE of the kind GPT-2 has, trained here on the tasks' own text."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

import edgewise.tasks
from edgewise.programs import PROGRAMS
from edgewise.tasks import TASKS
from edgewise.tasks.greater_than import CENTURIES, YEARS

NANO = Path(edgewise.tasks.__file__).parents[1] / "assets" / "nano"
END = "<|end|>"


def every_year() -> list[str]:
    return [f" {century}{year}" for century in CENTURIES for year in YEARS]


@pytest.fixture(scope="session")
def nano() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(NANO)


@pytest.fixture(scope="session")
def bpe_of() -> Callable[[list[str]], PreTrainedTokenizerBase]:
    """Makes a byte-level BPE without BOS from texts; digits come in pairs, everything else as the merges have it."""

    def make(texts: list[str]) -> PreTrainedTokenizerBase:
        tokenizer = Tokenizer(models.BPE())
        split = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r" ?\d\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.pre_tokenizer = split  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=4000, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)

    return make


@pytest.fixture(scope="session")
def bpe(bpe_of: Callable[[list[str]], PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase:
    rng = random.Random(0)
    language = [task for task in TASKS.values() if task.model not in PROGRAMS]
    drawn = [task.draw(rng, task.lists, task.corruptions[0]) for task in language for _ in range(400)]
    return bpe_of([prompt.clean + prompt.correct[0] for prompt in drawn] + every_year())
