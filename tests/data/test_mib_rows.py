"""Rows as the MIB benchmark publishes them become pairs: each data set's prompt, counterfactual and two answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.benchmark_rows import CHOICE, IOI, SUM

import edgewise as ew
from edgewise.data.pair_files import read_rows, to_pairs
from edgewise.errors import FileError, PairsError
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run


def read(folder: Path, *rows: dict[str, Any]) -> tuple[Any, ...]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return read_rows(path)


@pytest.mark.parametrize(
    ("row", "corrupted", "correct", "wrong"),
    [
        (IOI, "Then Jane and Chris met at the bakery. Jane handed a flower to", " Jane", " Chris"),
        (CHOICE, "Box is red. X. red Y. blue Answer:", " A", " X"),
        (SUM, "11 + 52 = ", "42", "63"),
    ],
)
def test_each_data_set(tmp_path: Path, row: dict[str, Any], corrupted: str, correct: str, wrong: str) -> None:
    (found,) = read(tmp_path, row)
    assert (found.clean, found.corrupted) == (row["prompt"], corrupted)
    assert (found.correct, found.wrong, found.published) == ((correct,), (wrong,), True)


def test_rows_without_a_counterfactual_are_passed_over(tmp_path: Path) -> None:
    missing = {**SUM, "random_counterfactual": None}
    empty = {**SUM, "random_counterfactual": {"prompt": None, "label": None}}
    assert [row.line for row in read(tmp_path, missing, SUM, empty, SUM)] == [2, 4]
    with pytest.raises(FileError, match="it has no pairs"):
        read(tmp_path, missing)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**IOI, "metadata": {"subject": "Chris"}}, "rows.jsonl, line 1: .*'indirect_object'"),
        ({**IOI, "metadata": None}, "lacks a column or a value"),
        ({**CHOICE, "answerKey": 7}, "lacks a column or a value: list index out of range"),
        ({**SUM, "random_counterfactual": {"label": 3}}, "'prompt'"),
        ({**SUM, "random_counterfactual": "11 + 52 = "}, "lacks a column or a value"),
        ({**SUM, "prompt": 3}, "'clean' must be text, not 3"),
        ({"prompt": "a", "label": 1}, "unknown column 'prompt'"),
    ],
)
def test_damaged_rows_are_refused_with_their_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError, match=message):
        read(tmp_path, row)


def test_rows_that_do_not_fit_the_tokenizer_are_left_out_and_counted(tmp_path: Path) -> None:
    """Published for all tokenizers: a name of several tokens is no mistake of the file, and `n` counts those that fit."""
    tokenizer = ew.load("nano").tokenizer
    long = json.loads(json.dumps(IOI).replace("Jane", "Bartholomewina"))
    rows = read(tmp_path, long, IOI, IOI, long, IOI)
    with pytest.warns(UserWarning, match="2 of 5 rows do not fit this tokenizer and are left out"):
        pairs = to_pairs(rows, tokenizer, "rows.jsonl")
    assert (len(pairs), pairs.source) == (3, {"left_out": 2})
    with pytest.warns(UserWarning, match="1 of 3 rows"):
        assert len(to_pairs(rows, tokenizer, "rows.jsonl", n=2)) == 2
    assert to_pairs(rows[1:3], tokenizer, "rows.jsonl").source == {}
    with pytest.raises(PairsError, match="no row fits this tokenizer; the last row: "):
        to_pairs(rows[:1], tokenizer, "rows.jsonl")


def test_ones_own_rows_are_still_held_to_every_line(tmp_path: Path) -> None:
    own = {"clean": "Then Jane and Chris met", "corrupted": "Then Jane", "correct": " Jane"}
    rows, tokenizer = read(tmp_path, IOI, own), ew.load("nano").tokenizer
    with pytest.raises(PairsError, match=r"rows\.jsonl, line 2: the pair is misaligned"):
        to_pairs(rows, tokenizer, "rows.jsonl")


def test_a_run_on_them(tmp_path: Path) -> None:
    read(tmp_path, IOI, IOI)
    found = run(Recipe(data=str(tmp_path / "rows.jsonl"), curve=0))
    assert found.report.examples == 2
    assert found.report["logit_diff"].clean > 0 > found.report["logit_diff"].corrupted
