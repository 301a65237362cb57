"""Prompts with their answers as a tokenizer reads them: from texts, or from token ids that it made before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from edgewise.errors import InvalidValue, PairsError
from edgewise.prompts.given_tokens import GivenTokens, begin_noticed, both_sides, padding_noticed
from edgewise.prompts.habits import of_texts
from edgewise.prompts.pair_tensors import column, is_missing
from edgewise.prompts.tokens import PromptReader

Columns = tuple[Any, Any]


@final
@dataclass(frozen=True)
class ReadPrompts:
    """The tokens of prompts and answers, where answers are read, the texts, and what was noticed, in sentences."""

    clean: list[list[int]]
    corrupted: list[list[int]]
    correct: list[list[int]]
    wrong: list[list[int]]
    positions: Tensor
    texts: tuple[tuple[str, str], ...]
    noticed: list[str] = field(default_factory=list)


def read_texts(reader: PromptReader, prompts: Columns, answers: Columns, positions: Any, mask: Any) -> ReadPrompts:
    """Texts with their answers. `prompts`: clean and corrupted, None for none; `answers`: right and wrong, None for none."""
    if mask is not None:
        raise InvalidValue("attention_mask is for prompts that are given as token ids; for texts leave it out")
    clean = column("clean", prompts[0])
    corrupted = clean if prompts[1] is None else column("corrupted", prompts[1])
    correct, wrong = _answer_columns(answers, len(clean))
    if not clean:
        raise PairsError("there are no prompts")
    if not len(clean) == len(corrupted) == len(correct) == len(wrong):
        counts = [len(of) for of in (clean, corrupted, correct, wrong)]
        raise PairsError(f"clean, corrupted, correct and wrong have {counts} rows; each needs one row per pair")
    rows = [reader.pair(i, a, b) for i, (a, b) in enumerate(zip(clean, corrupted, strict=True))]
    right, against = (
        [reader.answers(text, of) for text, of in zip(clean, side, strict=True)] for side in (correct, wrong)
    )
    noticed = reader.mended
    if reader.chat_template == "none":
        both = [[*_several(a), *_several(b)] for a, b in zip(correct, wrong, strict=True)]
        noticed += of_texts(clean, corrupted, both)
    return ReadPrompts(
        clean=[a for a, _ in rows],
        corrupted=[b for _, b in rows],
        correct=right,
        wrong=against,
        positions=GivenTokens("clean", None, [a for a, _ in rows], [0] * len(rows)).positions(positions),
        texts=tuple(zip(clean, corrupted, strict=True)),
        noticed=noticed,
    )


def read_tokens(reader: PromptReader, prompts: Columns, answers: Columns, positions: Any, mask: Any) -> ReadPrompts:
    """Token ids with their answers, `prompts` and `answers` as in `read_texts`. End tokens are left out."""
    if reader.facts:
        raise InvalidValue(
            f"{', '.join(reader.facts)}: prompts given as token ids are taken as they are; leave this out"
        )
    clean, corrupted = both_sides(*prompts, mask)
    clean.beside(corrupted)
    correct, wrong = _answer_columns(answers, len(clean))
    if not len(clean) == len(correct) == len(wrong):
        raise PairsError(f"correct and wrong have {[len(correct), len(wrong)]} rows for {len(clean)} prompts")
    read_at = None if positions is None else clean.positions(positions)
    pad = getattr(reader.tokenizer, "pad_token_id", None)
    noticed = [*padding_noticed(clean, corrupted, positions, pad=pad), *begin_noticed(clean, corrupted)]
    sides = [[reader.without_end(row) for row in side.rows] for side in (clean, corrupted)]
    _check_both(*sides)
    texts = [[reader.text(row) for row in side] for side in sides]
    right, against = (
        [reader.answers_after(row, of) for row, of in zip(sides[0], side, strict=True)] for side in (correct, wrong)
    )
    ended = sides[0] != clean.rows or sides[1] != corrupted.rows
    return ReadPrompts(
        clean=sides[0],
        corrupted=sides[1],
        correct=right,
        wrong=against,
        positions=torch.tensor([len(row) - 1 for row in sides[0]]) if read_at is None else read_at,
        texts=tuple(zip(*texts, strict=True)),
        noticed=[*noticed, *(reader.mended if ended else [])],
    )


def _check_both(clean: list[list[int]], corrupted: list[list[int]]) -> None:
    for number, (a, b) in enumerate(zip(clean, corrupted, strict=True)):
        if len(a) != len(b) or not a:
            raise PairsError(
                f"pair {number}: without the tokenizer's end token nothing is left to ask, or only of one prompt"
            )


def _answer_columns(answers: Columns, count: int) -> tuple[list[Any], list[Any]]:
    correct, wrong = answers
    against = [()] * count if wrong is None else column("wrong", wrong)
    return column("correct", correct), [() if is_missing(of) else of for of in against]


def _several(answers: Any) -> list[Any]:
    plain = answers.tolist() if hasattr(answers, "tolist") else answers
    return list(plain) if isinstance(plain, list | tuple) else [plain]
