"""Prompts as people have them: whatever holds the same prompts makes the same pairs, or a sentence says what is missing."""

from __future__ import annotations

import copy
import warnings
from collections import UserDict
from typing import Any

import numpy as np
import pytest
import torch
from support.families import subject

import edgewise as ew
from edgewise.ablations import ABLATIONS, Mean
from edgewise.errors import EdgewiseWarning, InvalidValue, PairsError
from edgewise.methods import METHODS
from edgewise.pairs import Pairs

PAD = 49
CLEAN = [[3, 4, 5, 6], [7, 8], [9, 10, 11]]
CORRUPTED = [[3, 14, 5, 6], [17, 8], [9, 10, 12]]
ANSWERS: dict[str, Any] = {"correct": [[20, 21], [22], [23]], "wrong": [[30], [31], [32, 33]]}


def padded(rows: list[list[int]], side: str) -> list[list[int]]:
    width = max(map(len, rows))
    fill = [[PAD] * (width - len(row)) for row in rows]
    return [[*f, *row] if side == "left" else [*row, *f] for row, f in zip(rows, fill, strict=True)]


def mask(rows: list[list[int]], side: str) -> list[list[int]]:
    return [[int(token != PAD) for token in row] for row in padded(rows, side)]


class Column:
    """A column of a table, as pandas has it: neither a list nor an array, and its rows are not called 0, 1, 2."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def tolist(self) -> list[Any]:
        return list(self.values)

    def __iter__(self) -> Any:
        return iter(self.values)

    def __getitem__(self, row: Any) -> Any:
        raise KeyError(row)


def encoding(rows: list[list[int]], side: str, kind: Any) -> Any:
    """What a tokenizer returns."""
    return UserDict(input_ids=kind(padded(rows, side)), attention_mask=kind(mask(rows, side)), token_type_ids=0)


PLAIN = Pairs.from_tokens(CLEAN, CORRUPTED, **ANSWERS)
WAYS: dict[str, tuple[tuple[Any, Any], dict[str, Any]]] = {
    "arrays of arrays": (([np.array(row) for row in CLEAN], tuple(torch.tensor(row) for row in CORRUPTED)), {}),
    "columns": ((Column(CLEAN), Column([np.array(row) for row in CORRUPTED])), {}),
    **{
        f"{side} padding in {kind.__name__}s": (
            (kind(padded(CLEAN, side)), kind(padded(CORRUPTED, side))),
            {"attention_mask": kind(mask(CLEAN, side))},
        )
        for side in ("left", "right")
        for kind in (list, np.array, torch.tensor)
    },
    **{
        f"an encoding in {kind.__name__}s, padded {side}": (
            (encoding(CLEAN, side, kind), encoding(CORRUPTED, side, kind)),
            {},
        )
        for side in ("left", "right")
        for kind in (list, np.array, torch.tensor)
    },
    "sides that are padded differently": ((encoding(CLEAN, "left", list), encoding(CORRUPTED, "right", list)), {}),
    "an encoding and its ids": ((encoding(CLEAN, "left", list), padded(CORRUPTED, "left")), {}),
    "a mask of truth values": (
        (padded(CLEAN, "left"), padded(CORRUPTED, "left")),
        {"attention_mask": torch.tensor(mask(CLEAN, "left")).bool()},
    ),
    "positions in padded rows": (
        (padded(CLEAN, "left"), padded(CORRUPTED, "left")),
        {"attention_mask": mask(CLEAN, "left"), "positions": Column([3, 3, 3])},
    ),
}


@pytest.mark.parametrize(("prompts", "how"), WAYS.values(), ids=list(WAYS))
def test_the_same_prompts_make_the_same_pairs(prompts: tuple[Any, Any], how: dict[str, Any]) -> None:
    pairs = Pairs.from_tokens(*prompts, **ANSWERS, **how)
    assert pairs.fingerprint == PLAIN.fingerprint
    assert pairs.positions.tolist() == [3, 1, 2]
    assert pairs.source == {}


def test_padding_on_either_side_changes_no_score() -> None:
    on, ways = subject("gpt2"), [WAYS[f"an encoding in tensors, padded {side}"] for side in ("left", "right")]
    left, right = (
        ew.attribute(on, Pairs.from_tokens(*prompts, **ANSWERS), method="eap", batch_size=2).values
        for prompts, _ in ways
    )
    one_by_one = ew.attribute(on, PLAIN, method="eap", batch_size=1).values
    assert torch.equal(left, right)
    torch.testing.assert_close(left, one_by_one)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attention_mask": [[1, 1, 1]]}, r"attention_mask must hold 0 or 1 for each token of clean, shape \(2, 3\)"),
        ({"attention_mask": [[1, 2, 1], [1, 1, 1]]}, "attention_mask must hold 0 or 1 for each token of clean"),
        ({"attention_mask": [[1, 0, 1], [1, 1, 1]]}, "attention_mask has gaps in example 0 of clean"),
        ({"attention_mask": [[1, 1, 1], [0, 0, 0]]}, "attention_mask keeps no token in example 1 of clean"),
        (
            {"attention_mask": [[0, 1, 1], [1, 1, 1]], "positions": [0, 2]},
            "positions must be 2 indices between the first",
        ),
        ({"clean": [[1, 2], [3]], "attention_mask": [[1, 1], [1, 1]]}, "clean has rows of other lengths than its"),
        ({"clean": {"ids": [[1]]}}, "clean is a mapping without 'input_ids'"),
        ({"clean": [[1, 2], [3]], "corrupted": [[1, 2], [3, 4]]}, "example 1: clean has 1 tokens and corrupted 2"),
        ({"clean": [[1, 2], [3]], "corrupted": [[1, 2]]}, "clean has 2 rows and corrupted 1"),
        ({"clean": [[1, 2], [3]], "corrupted": [[1, 2], [3]], "after": "prompt"}, "they must all have the same length"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    usual = {"clean": [[1, 2, 3], [4, 5, 6]], "corrupted": [[1, 9, 3], [4, 9, 6]], "correct": [7, 8]}
    with pytest.raises(PairsError, match=message):
        Pairs.from_tokens(**{**usual, **given})


# -- padding without a mask -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_without_a_mask_is_noticed(side: str) -> None:
    with pytest.warns(EdgewiseWarning, match=f"token {PAD} fills some prompts up on the {side} .* give attention_mask"):
        pairs = Pairs.from_tokens(padded(CLEAN, side), padded(CORRUPTED, side), **ANSWERS)
    assert [PAD in row for row in pairs.clean.tolist()] == [False, True, True]
    assert "attention_mask" in pairs[1:].source["warnings"][0]


def test_nothing_is_noticed_where_nothing_is_padded() -> None:
    """Prompts that end alike, also in a word twice, and prompts whose answers stand before their padding."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pairs.from_tokens([[1, 2, 5, 5], [3, 5, 4, 6]], [[9, 2, 5, 5], [3, 9, 4, 6]], correct=[7, 8])
        Pairs.from_tokens([[1, 2, 5, 5], [3, 2, 5, 5]], [[9, 2, 5, 5], [9, 2, 5, 5]], correct=[7, 8])
        Pairs.from_tokens([[1, 2, 5, 5], [3, 2, 4, 6]], [[9, 2, 4, 5], [9, 2, 4, 6]], correct=[7, 8])
        right = padded(CLEAN, "right"), padded(CORRUPTED, "right")
        assert Pairs.from_tokens(*right, **ANSWERS, positions=[3, 1, 2]).fingerprint == PLAIN.fingerprint


def test_a_begin_token_twice_is_noticed() -> None:
    with pytest.warns(EdgewiseWarning, match="all prompts begin with token 1 twice"):
        Pairs.from_tokens([[1, 1, 5], [1, 1, 6]], [[1, 1, 7], [1, 1, 8]], correct=[7, 8])


# -- no corrupted prompts ---------------------------------------------------------------------------------------------

ALONE = Pairs.from_tokens(CLEAN, **ANSWERS)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.replaces])
def test_an_ablation_that_needs_corrupted_prompts_is_refused_without_any(name: str) -> None:
    others = r"needs none \(zero, mean, position-mean\)"
    with pytest.raises(PairsError, match=f"'corrupted' needs corrupted prompts and these pairs have none; .*{others}"):
        ew.discover(subject("gpt2"), ALONE, method=name)


def test_so_it_is_by_the_verbs_that_measure() -> None:
    on = subject("gpt2")
    with pytest.raises(PairsError, match="these pairs have none"):
        ew.evaluate(on, ew.Circuit.full(on.graph), ALONE)
    with pytest.raises(PairsError, match="these pairs have none"):
        ew.effects(on, ALONE, on.graph.edges[:2])
    with pytest.raises(PairsError, match="these pairs have none"):
        ew.sweep(on, ALONE[1:], values=[0.1])


@pytest.mark.parametrize("ablation", [name for name in ABLATIONS if name != "corrupted"])
def test_others_take_what_they_need_from_the_clean_prompts(ablation: str) -> None:
    on, twins = subject("gpt2"), Pairs.from_tokens(CLEAN, CLEAN, **ANSWERS)
    found, same = (ew.attribute(on, of, method="eap", ablation=ablation) for of in (ALONE, twins))
    assert torch.equal(found.values, same.values)
    assert bool(found.values.any())
    assert (found.provenance["corrupted"], same.provenance.get("corrupted")) == ("none", None)
    report = ew.evaluate(on, ew.Circuit.full(on.graph), ALONE, ablation=ablation)
    assert report["logit_diff"].faithfulness == pytest.approx(1, abs=1e-3)


def test_a_mean_over_other_pairs_needs_no_corrupted_prompts_here() -> None:
    on = subject("gpt2")
    found, same = (ew.attribute(on, of, method="eap", ablation=Mean(PLAIN)) for of in (ALONE, PLAIN))
    torch.testing.assert_close(found.values, same.values)


def test_prompts_alone_need_answers_all_the_same() -> None:
    with pytest.raises(PairsError, match="correct is missing"):
        Pairs.from_prompts(lambda text: {"input_ids": [1]}, ["a"], ["b"])


# -- with a tokenizer -------------------------------------------------------------------------------------------------


def test_what_the_tokenizer_made_is_what_it_makes_of_the_text() -> None:
    tokenizer = copy.deepcopy(ew.load("nano").tokenizer)
    texts = [p for name in ("ioi", "induction") for p in ew.task(name).prompts(tokenizer, n=2)]
    clean, corrupted = [p.clean for p in texts], [p.corrupted for p in texts]
    answers = [[p.correct[0] for p in texts], Column([p.wrong[0] for p in texts])]
    said = Pairs.from_prompts(tokenizer, Column(clean), np.array(corrupted), *answers)
    tokenizer.pad_token = tokenizer.eos_token
    for side in ("left", "right"):
        sides = [tokenizer(side_of, padding=True, padding_side=side) for side_of in (clean, corrupted)]
        assert len({len(row) for row in tokenizer(clean)["input_ids"]}) > 1
        pairs = Pairs.from_prompts(tokenizer, *sides, *answers)
        assert pairs.fingerprint == said.fingerprint
        assert [text for text, _ in pairs.texts] == clean
        ids = Pairs.from_prompts(tokenizer, *sides, said.correct[:, 0].tolist(), said.wrong)
        assert ids.fingerprint == said.fingerprint
        tables = [one["input_ids"] for one in sides]
        assert (
            Pairs.from_prompts(tokenizer, *tables, *answers, attention_mask=sides[0]["attention_mask"]).texts
            == pairs.texts
        )
    with pytest.raises(InvalidValue, match="bos: prompts given as token ids are taken as they are"):
        Pairs.from_prompts(tokenizer, *sides, *answers, bos="no")
    with pytest.raises(InvalidValue, match="attention_mask is for prompts that are given as token ids"):
        Pairs.from_prompts(tokenizer, clean, corrupted, *answers, attention_mask=[[1]])
