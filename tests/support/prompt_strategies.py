"""What property tests of prompts draw: tokenizers of every habit, texts and answers as people write them, token ids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
TEXT = [
    "Mary gave John the ball",
    "John gave Mary the ball",
    "Then Mary and John went to the shop",
    "The dog is",
    "dogs are",
]
PIECES = [
    "Mary",
    " Mary",
    "John",
    " John",
    "The dog",
    " went",
    " to",
    " the",
    " ",
    "  ",
    "\n",
    ",",
    "s",
    "<s>",
    "</s>",
    "Zoe",
]


@dataclass(frozen=True)
class Habits:
    """How a tokenizer cuts texts, and what it puts around them."""

    cuts: Literal["bytes", "bytes after a space", "words"]
    begins: bool
    ends: bool


@cache
def tokenizer_with(habits: Habits) -> PreTrainedTokenizerFast:
    """A small tokenizer with these habits."""
    special = list(SPECIAL.values())
    if habits.cuts == "words":
        made = Tokenizer(models.WordLevel(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        made.train_from_iterator(TEXT, trainers.WordLevelTrainer(special_tokens=special))
    else:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=habits.cuts == "bytes after a space")
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=340, initial_alphabet=alphabet, special_tokens=special, show_progress=False
        )
        made.train_from_iterator(TEXT * 3, trainer)
    single = f"{'<s> ' if habits.begins else ''}$A{' </s>' if habits.ends else ''}"
    pairs = [(token, made.token_to_id(token)) for token in ("<s>", "</s>")]
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=pairs)
    return PreTrainedTokenizerFast(tokenizer_object=made, **SPECIAL)


HABITS = [Habits(*each) for each in product(("bytes", "bytes after a space", "words"), (False, True), (False, True))]


def prompts() -> st.SearchStrategy[str]:
    """Texts of a few words and of what stands between them, rarely empty."""
    return st.lists(st.sampled_from(PIECES), max_size=4).map("".join)


def answers() -> st.SearchStrategy[Any]:
    """One answer or several, as text with and without its space, or as ids of several kinds; some are none."""
    words = st.sampled_from([" Mary", " John", "Mary", "John", " the", "s", " ", "", " Zoe", " is", " went"])
    ids = st.integers(-2, 400)
    one = st.one_of(words, words, ids, ids.map(np.int64))
    return st.one_of(one, st.lists(one, max_size=3), st.lists(ids, min_size=1, max_size=2).map(np.array))


@st.composite
def ragged_rows(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    """Clean and corrupted rows of token ids, of 1 to 5 tokens each."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    token = st.integers(0, 6)
    clean, corrupted = (
        [draw(st.lists(token, min_size=length, max_size=length)) for length in lengths] for _ in range(2)
    )
    return clean, corrupted
