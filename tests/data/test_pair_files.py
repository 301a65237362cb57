"""The user's own pairs: JSONL and CSV are read alike, and what is wrong is said with file and line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewise.data.pair_files import read_rows, to_pairs
from edgewise.errors import FileError, PairsError


class Words:
    """A tokenizer of words with their leading space; unknown words are token 0."""

    pad_token_id = eos_token_id = None
    unk_token_id = 0
    names = "? Mary John met and gave it to Tom Paris".split()

    def __call__(self, text: str) -> dict[str, list[int]]:
        known = {name: i for i, name in enumerate(self.names)}
        return {"input_ids": [known.get(word, 0) for word in text.split()]}

    def decode(self, tokens: list[int]) -> str:
        return " " + self.names[tokens[0]]


ROWS = [
    {
        "clean": "Mary met John and Mary gave it to",
        "corrupted": "Mary met John and Tom gave it to",
        "correct": " John",
        "wrong": [" Mary"],
    },
    {"clean": "met John", "corrupted": "met Tom", "correct": [" Mary", " Paris"]},
]
JSONL = "\n\n".join(json.dumps(row) for row in ROWS) + "\n"
CSV = """clean,corrupted,correct,wrong
Mary met John and Mary gave it to,Mary met John and Tom gave it to, John, Mary
met John,met Tom, Mary| Paris,
"""


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", JSONL),
        ("a.csv", CSV),
        ("bom.csv", "\ufeff" + CSV),
        ("crlf.csv", CSV.replace("\n", "\r\n")),
        ("crlf.jsonl", JSONL.replace("\n", "\r\n")),
        ("A.CSV", CSV),
        ("cut.jsonl", JSONL.rstrip()),
    ],
)
def test_both_formats_give_the_same_pairs(tmp_path: Path, name: str, content: str) -> None:
    rows = read_rows(written(tmp_path, name, content))
    assert [(row.correct, row.wrong) for row in rows] == [((" John",), (" Mary",)), ((" Mary", " Paris"), ())]
    pairs = to_pairs(rows, Words(), name)
    assert pairs.clean.tolist() == [[1, 3, 2, 4, 1, 5, 6, 7], [3, 2, 2, 2, 2, 2, 2, 2]]
    assert pairs.positions.tolist() == [7, 1]
    assert pairs.correct.tolist() == [[2, -1], [1, 9]]
    assert pairs.wrong.tolist() == [[1], [-1]]


def test_quoted_fields_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    text = 'correct,clean,corrupted\n" a","x, ""y""\nz","q, w"\n b,c,d\n'
    rows = read_rows(written(tmp_path, "a.csv", text))
    assert rows[0].clean == 'x, "y"\nz'
    assert [row.line for row in rows] == [2, 4]


GOOD = '{"clean": "met", "corrupted": "and", "correct": " Mary"}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "is empty"),
        ("a.csv", "", "is empty"),
        ("a.csv", "clean,corrupted,correct\n", "is empty"),
        ("a.txt", "x", r"cannot be read; give a \.jsonl, \.csv, \.json, \.parquet file, or a data set of the hub"),
        ("a.jsonl", GOOD + "{oops", r"line 2: not JSON"),
        ("a.jsonl", GOOD + '"text"', r"line 2: this is a JSON str"),
        ("a.jsonl", GOOD + '{"clean": "a", "correct": "b"}', r"line 2: the column 'corrupted' is missing"),
        ("a.jsonl", GOOD + GOOD.replace("clean", "cleen"), r"line 2: unknown column 'cleen'; did you mean 'clean'"),
        (
            "a.jsonl",
            GOOD + GOOD.replace('" Mary"', "3"),
            r"line 2: 'correct' must be a string or a list of strings, not 3",
        ),
        ("a.jsonl", GOOD + GOOD.replace('" Mary"', '[" Mary", 3]'), r"line 2: 'correct' must be a string or a list"),
        ("a.jsonl", GOOD + GOOD.replace('" Mary"', "[]"), r"line 2: an answer is empty"),
        ("a.jsonl", GOOD + GOOD.replace('"met"', "null"), r"line 2: 'clean' must be text, not None"),
        ("a.jsonl", GOOD + GOOD.replace('"met"', '""'), r"line 2: 'clean' must be text, not ''"),
        ("a.jsonl", GOOD.encode() + b'{"clean": "\xff"}', r"line 2: not UTF-8 text"),
        ("a.csv", "clean,corrupted,corect\n", r"line 1: unknown column 'corect'; did you mean 'correct'"),
        ("a.csv", "clean,correct\n", r"line 1: the column 'corrupted' is missing"),
        ("a.csv", "clean,clean,corrupted,correct\n", r"line 1: the column 'clean' appears twice"),
        ("a.csv", "clean,corrupted,correct\na,b, c\nd,e\n", r"line 3: this row has 2 fields for 3 columns"),
        ("a.csv", "clean,corrupted,correct\na,b,\n", r"line 2: an answer is empty"),
        ("a.csv", "clean,corrupted,correct\na,b, c| d|\n", r"line 2: an answer is empty"),
        ("a.csv", 'clean,corrupted,correct\na,b," c\n', r"not CSV"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(FileError, match=message) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        read_rows(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("met and,met, Mary,", r"a.csv, line 3: the pair is misaligned"),
        ("met,and, Berlin,", r"a.csv, line 3: .*' Berlin' is not one token"),
        ("met,and, Mary, Mary", r"a.csv, line 3: .*both a correct and a wrong answer"),
    ],
)
def test_pairs_that_do_not_fit_are_said_with_their_line(tmp_path: Path, row: str, message: str) -> None:
    path = written(tmp_path, "a.csv", f"clean,corrupted,correct,wrong\nmet,and, Mary, Tom\n{row}\n")
    with pytest.raises(PairsError, match=message):
        to_pairs(read_rows(path), Words(), "a.csv")


def test_a_model_without_tokenizer_is_said(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="without a tokenizer"):
        to_pairs(read_rows(written(tmp_path, "a.csv", CSV)), None, "a.csv")


def test_nothing_depends_on_the_kind_of_tokenizer(tmp_path: Path) -> None:
    def tokenizer(text: str) -> Any:
        return Words()(text)

    pairs = to_pairs(read_rows(written(tmp_path, "a.csv", CSV)), tokenizer, "a.csv")
    assert pairs.clean[1].tolist() == [3, 2, 2, 2, 2, 2, 2, 2]


# -- as other tools lay them out --------------------------------------------------------------------------------------


def test_columns_that_are_not_used_are_named_and_left(tmp_path: Path) -> None:
    text = "clean,corrupted,correct,wrong,template,seed\nmet John,met Tom, Mary, Paris,4,7\n"
    with pytest.warns(UserWarning, match=r"more.csv: columns that are not used: template, seed$"):
        rows = read_rows(written(tmp_path, "more.csv", text))
    assert (rows[0].correct, rows[0].wrong) == ((" Mary",), (" Paris",))


def test_a_column_almost_like_an_optional_one_is_a_slip(tmp_path: Path) -> None:
    for slip in ("wrongs", "splitt"):
        path = written(tmp_path, "slip.csv", f"clean,corrupted,correct,{slip}\nmet John,met Tom, Mary, Paris\n")
        with pytest.raises(FileError, match=f"line 1: unknown column '{slip}'; did you mean"):
            read_rows(path)


@pytest.mark.parametrize("cell", ["2", "2|9", '"[2, 9]"'])
def test_answers_may_be_token_ids_behind_an_index(tmp_path: Path, cell: str) -> None:
    text = f",clean,corrupted,correct_idx,incorrect_idx\n3,met John,met Tom,{cell},1\n"
    (row,) = read_rows(written(tmp_path, "ids.csv", text))
    ids = (2,) if cell == "2" else (2, 9)
    assert (row.correct, row.wrong) == (ids, (1,))
    assert to_pairs((row,), Words(), "ids.csv").correct.tolist() == [list(ids)]
    structured = {"clean": "met John", "corrupted": "met Tom", "correct_idx": list(ids), "incorrect_idx": 1}
    assert read_rows(written(tmp_path, "ids.jsonl", json.dumps(structured)))[0] == replace(row, line=1)


@pytest.mark.parametrize("cell", ["a", "1.5", "2|", '"[2, true]"', "[]"])
def test_what_is_no_token_id_is_refused(tmp_path: Path, cell: str) -> None:
    path = written(tmp_path, "ids.csv", f"clean,corrupted,correct_idx\nmet John,met Tom,{cell}\n")
    with pytest.raises(FileError, match="line 2: 'correct_idx' must be a token id or a list of them, not "):
        read_rows(path)


def test_prompts_in_a_list_of_their_own_are_read_by_their_names(tmp_path: Path) -> None:
    prompt = {"clean": "met John", "corrupt": "met Tom", "answers": [" Mary"], "wrong_answers": [" Paris", " Tom"]}
    document = {"seq_labels": None, "prompts": [prompt]}
    (row,) = read_rows(written(tmp_path, "prompts.json", json.dumps(document)))
    assert (row.corrupted, row.correct, row.wrong) == ("met Tom", (" Mary",), (" Paris", " Tom"))
